"""How payload bytes are written: the `enc` column and its codes (collector.store.schema), and the dictionaries.

A project's own first events train a zstd dictionary: an event of one app then takes a quarter of the bytes and half
the time (measured on 100 unseen real events: 3943 B in 54 us without, 1048 B in 25 us with 64 KiB; training 100
samples 0.015 s). Each segment holds the dictionaries it uses, `seg_info` key `dict:N`: 8 bytes project id, 8 bytes
microseconds since the epoch when it was trained, both big-endian, then the dictionary.

A dictionary holds pieces of events, so it must not outlive them for long: a new segment starts with those of the one
before unless they are a week old, and trains its own from its own first events. It also trains again when what the
dictionary saves has decayed.
"""

import struct
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import zstandard

from collector.errors import Damaged
from collector.store.schema import EXTERNAL, NOT_KEPT

RAW, ZSTD = 0, 1
LEVEL = 1  # level 3 saves 9 % and costs half as much again
SMALLEST_ZSTD_BYTES = 200  # below, the frame header eats the gain
MAX_PAYLOAD_BYTES = 256 << 20  # no payload of ours is larger; a damaged frame may claim to be
MAX_DICTIONARIES = 250  # numbers that `enc` has room for, below EXTERNAL

DICTIONARY_BYTES = 64 << 10
# What a dictionary is made of. Left to find the best length by itself zstd takes 89 ms instead of 15, and what it likes
# best on a quarter of the samples is worse: 1186 B and not 1123 for unseen events of 17 KB, 657 and not 200 for known
# ones of 5 KB.
PIECE_BYTES = 2_000
MATCH_BYTES = 8
TABLE_LOG = 18
SAMPLES = 100
MAX_SAMPLE_BYTES = 64 << 10
MAX_TRAINING_PROJECTS = 8  # that collect samples at the same time: 8 * 100 * 20 KB
DECAYED = 1.5  # trained again when events take this many times the bytes they took after training
MAX_CARRIED_SECONDS = 7 * 86_400.0
HEAD = struct.Struct(">QQ")
WEIGHT = 1 / 500  # of one event in the running ratio


class Dictionary(NamedTuple):
    """A trained dictionary and the project whose events made it."""

    project_id: int
    data: bytes
    trained_at: float

    def pack(self) -> bytes:
        """The value in seg_info."""
        return HEAD.pack(self.project_id, int(self.trained_at * 1e6)) + self.data

    @classmethod
    def unpack(cls, raw: bytes) -> "Dictionary":
        """From the value in seg_info. Raises Damaged."""
        if len(raw) <= HEAD.size:
            raise Damaged("dictionary", f"has {len(raw)} bytes")
        project_id, trained_at = HEAD.unpack_from(raw)
        return cls(project_id, raw[HEAD.size :], trained_at / 1e6)


def read_dictionaries(facts: Mapping[str, bytes]) -> dict[int, Dictionary]:
    """Those in the key-value pairs of seg_info. Raises Damaged."""
    prefix = "dict:"
    return {int(key.removeprefix(prefix)): Dictionary.unpack(bytes(value))
            for key, value in facts.items() if key.startswith(prefix)}  # fmt: skip


class PayloadCodec:
    """Compresses payloads of one segment; knows its dictionaries, by number from 1. fetch: the content of an attachment
    by its hash, None when it is gone."""

    def __init__(self, dictionaries: Mapping[int, Dictionary] | None = None,
                 fetch: Callable[[bytes], bytes | None] = lambda digest: None) -> None:  # fmt: skip
        self.dictionaries: dict[int, Dictionary] = {}
        self.fetch = fetch
        self._plain = zstandard.ZstdCompressor(level=LEVEL, write_checksum=True)
        self._by_project: dict[int, tuple[int, zstandard.ZstdCompressor]] = {}
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}
        self._lock = threading.Lock()
        for number, dictionary in sorted((dictionaries or {}).items()):
            self.dictionaries[number] = dictionary

    def add(self, dictionary: Dictionary) -> int:
        """Takes a new dictionary into use; returns its number."""
        number = max(self.dictionaries, default=0) + 1
        self.dictionaries[number] = dictionary
        self._by_project.pop(dictionary.project_id, None)
        return number

    @property
    def is_full(self) -> bool:
        """True when no more dictionary can be added."""
        return len(self.dictionaries) >= MAX_DICTIONARIES

    def carried(self, now: float) -> dict[int, Dictionary]:
        """The dictionaries in use, numbered anew from 1: what the next segment starts with."""
        in_use = {one.project_id: one for _, one in sorted(self.dictionaries.items())
                  if abs(now - one.trained_at) < MAX_CARRIED_SECONDS}  # fmt: skip
        return dict(enumerate(in_use.values(), 1))

    def encode(self, payload: bytes | memoryview, project_id: int) -> tuple[int, bytes]:
        """(enc, bytes) of one payload."""
        if len(payload) < SMALLEST_ZSTD_BYTES:
            return RAW, bytes(payload)
        number, compressor = self._by_project.get(project_id) or self._compressor(project_id)
        return ZSTD + number, compressor.compress(payload)

    def _compressor(self, project_id: int) -> tuple[int, zstandard.ZstdCompressor]:
        numbers = [number for number, one in self.dictionaries.items() if one.project_id == project_id]
        number = max(numbers, default=0)
        compressor = self._plain
        if number:
            data = zstandard.ZstdCompressionDict(self.dictionaries[number].data)
            data.precompute_compress(level=LEVEL)
            compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=data, write_dict_id=False, write_checksum=True)
        self._by_project[project_id] = number, compressor
        return number, compressor

    def decode(self, enc: int, data: bytes | None) -> bytes | None:
        """The payload again, None when it was not kept. Raises Damaged."""
        if data is None or enc == NOT_KEPT:
            return None
        if enc == RAW:
            return bytes(data)
        if enc == EXTERNAL:
            return self.fetch(bytes(data))
        try:
            with self._lock:
                return self._decompressor(enc).decompress(data, max_output_size=MAX_PAYLOAD_BYTES)
        except (zstandard.ZstdError, KeyError) as error:
            raise Damaged("payload", f"cannot be decompressed: {error}") from error

    def _decompressor(self, enc: int) -> zstandard.ZstdDecompressor:
        if enc not in self._decompressors:
            number = enc - ZSTD
            dictionary = zstandard.ZstdCompressionDict(self.dictionaries[number].data) if number else None
            self._decompressors[enc] = zstandard.ZstdDecompressor(dict_data=dictionary)
        return self._decompressors[enc]


class Training:
    """Watches what is compressed; says when a project should get a dictionary, and makes it."""

    def __init__(self) -> None:
        self._samples: dict[int, list[bytes]] = {}
        self._ratios: dict[int, tuple[float, float]] = {}  # project -> (running ratio, ratio after training)
        self._hopeless: set[int] = set()

    def renew(self, project_ids: Iterable[int]) -> None:
        """A new segment uses dictionaries of the one before: collect samples for its own."""
        self._hopeless.clear()
        for project_id in project_ids:
            if len(self._samples) < MAX_TRAINING_PROJECTS:
                self._samples.setdefault(project_id, [])

    def see(self, project_id: int, payload: bytes, enc: int, size: int) -> None:
        """One payload that was just compressed to `size` bytes."""
        if enc in (RAW, NOT_KEPT):
            return
        if enc == ZSTD or project_id in self._samples:
            self._collect(project_id, payload)
        if enc > ZSTD:
            ratio = size / len(payload)
            running, trained = self._ratios.get(project_id, (ratio, 0.0))
            running += (ratio - running) * WEIGHT
            self._ratios[project_id] = running, trained or ratio
            if trained and running > DECAYED * trained and project_id not in self._samples:
                self._collect(project_id, payload)

    def _collect(self, project_id: int, payload: bytes) -> None:
        samples = self._samples.get(project_id)
        if samples is None:
            if len(self._samples) >= MAX_TRAINING_PROJECTS or project_id in self._hopeless:
                return
            samples = self._samples[project_id] = []
        if len(samples) < SAMPLES and len(payload) <= MAX_SAMPLE_BYTES:
            samples.append(bytes(payload))

    def due(self) -> list[int]:
        """Projects with enough samples."""
        return [project_id for project_id, samples in self._samples.items() if len(samples) >= SAMPLES]

    def train(self, project_id: int, now: float) -> Dictionary | None:
        """A dictionary from the samples, which are forgotten; None when they have nothing in common."""
        samples = self._samples.pop(project_id)
        try:
            trained = zstandard.train_dictionary(
                DICTIONARY_BYTES, list(samples), k=PIECE_BYTES, d=MATCH_BYTES, f=TABLE_LOG, level=LEVEL
            )
        except zstandard.ZstdError:
            self._hopeless.add(project_id)
            return None
        compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=trained, write_dict_id=False)
        after = sum(len(compressor.compress(one)) for one in samples[::10]) / max(1, sum(map(len, samples[::10])))
        self._ratios[project_id] = after, after
        return Dictionary(project_id, trained.as_bytes(), now)
