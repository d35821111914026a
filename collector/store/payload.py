"""How payload bytes are written: the `enc` column and its codes (collector.store.schema)."""

import threading

import zstandard

from collector.errors import Damaged
from collector.store.schema import NOT_KEPT

RAW, ZSTD = 0, 1
LEVEL = 1  # level 3 saves 4 % and costs 10 us an event more (storage.md 3)
SMALLEST_ZSTD_BYTES = 200  # below, the frame header eats the gain
MAX_PAYLOAD_BYTES = 256 << 20  # no payload of ours is larger; a damaged frame may claim to be


class PayloadCodec:
    """Compresses payloads of one segment; knows its dictionaries."""

    def __init__(self, dictionaries: dict[int, bytes] | None = None) -> None:
        self._dictionaries = dict(dictionaries or {})
        self._newest = max(self._dictionaries, default=0)
        data = self._dictionaries.get(self._newest)
        compression = zstandard.ZstdCompressionDict(data) if data else None
        if compression:
            compression.precompute_compress(level=LEVEL)
        self._compressor = zstandard.ZstdCompressor(level=LEVEL, dict_data=compression, write_dict_id=False)
        self._decompressors: dict[int, zstandard.ZstdDecompressor] = {}
        self._lock = threading.Lock()

    @property
    def newest(self) -> int:
        """Number of the dictionary in use, 0 for none."""
        return self._newest

    def encode(self, payload: bytes | memoryview) -> tuple[int, bytes]:
        """(enc, bytes) of one payload."""
        if len(payload) < SMALLEST_ZSTD_BYTES:
            return RAW, bytes(payload)
        return ZSTD + self._newest, self._compressor.compress(payload)

    def decode(self, enc: int, data: bytes | None) -> bytes | None:
        """The payload again, None when it was not kept. Raises Damaged."""
        if data is None or enc == NOT_KEPT:
            return None
        if enc == RAW:
            return bytes(data)
        try:
            with self._lock:
                return self._decompressor(enc).decompress(data, max_output_size=MAX_PAYLOAD_BYTES)
        except (zstandard.ZstdError, KeyError) as error:
            raise Damaged("payload", f"cannot be decompressed: {error}") from error

    def _decompressor(self, enc: int) -> zstandard.ZstdDecompressor:
        if enc not in self._decompressors:
            number = enc - ZSTD
            dictionary = zstandard.ZstdCompressionDict(self._dictionaries[number]) if number else None
            self._decompressors[enc] = zstandard.ZstdDecompressor(dict_data=dictionary)
        return self._decompressors[enc]
