"""Encodings: whole streams come out as they went in, bombs and broken streams are refused within bounds."""

import gzip
import os
import subprocess
import sys

import pytest
import zstandard

from collector.errors import ProtocolError
from collector.protocol.encodings import DECODERS, canonical, decode, decode_inline
from tests.protocol.bodies import ENCODERS, streamed_zstd

NAMES = sorted(DECODERS)
RAW = [b"x", b"an envelope\n" * 900, bytes(range(256)) * 3000, os.urandom(700_000)]


@pytest.mark.parametrize("raw", RAW, ids=["one byte", "text", "700 KB repeating", "700 KB random"])
@pytest.mark.parametrize("name", NAMES)
def test_every_encoding_gives_back_what_went_in(name: str, raw: bytes) -> None:
    assert decode(name, ENCODERS[name](raw), 10**6, 1000) == raw


def test_zstd_without_stated_size_gives_back_what_went_in() -> None:
    raw = os.urandom(1000) * 400
    assert decode("zstd", streamed_zstd(raw), 10**6, 10**6) == raw


@pytest.mark.parametrize("name", NAMES)
def test_a_truncated_stream_is_400(name: str) -> None:
    stream = ENCODERS[name](b"an envelope\n" * 9000)
    with pytest.raises(ProtocolError) as caught:
        decode(name, stream[:-3], 10**6, 1000)
    assert (caught.value.status, caught.value.reason) == (400, "invalid_compression")


@pytest.mark.parametrize("raw", [b"short", os.urandom(200_000)], ids=["short", "long"])
@pytest.mark.parametrize("name", NAMES)
def test_anything_behind_the_stream_is_400_a_second_member_too(name: str, raw: bytes) -> None:
    stream = ENCODERS[name](raw)
    for behind in (b"x", stream):
        with pytest.raises(ProtocolError) as caught:
            decode(name, stream + behind, 10**6, 1000)
        assert caught.value.status == 400


@pytest.mark.parametrize("name", NAMES)
def test_garbage_is_400(name: str) -> None:
    for garbage in (b"garbage!", b"\x00" * 40, b"\xff" * 4000, os.urandom(3000)):
        with pytest.raises(ProtocolError) as caught:
            decode(name, garbage, 10**6, 1000)
        assert caught.value.status in (400, 413)


@pytest.mark.parametrize("name", NAMES)
def test_output_past_the_limit_is_413_and_names_limit_and_value(name: str) -> None:
    raw = os.urandom(50_000)
    assert decode(name, ENCODERS[name](raw), 50_000, 100) == raw
    with pytest.raises(ProtocolError) as caught:
        decode(name, ENCODERS[name](raw), 49_999, 100, "max_event_bytes")
    assert caught.value.status == 413
    assert caught.value.causes[0].startswith("max_event_bytes is 49999")


def test_a_body_without_encoding_past_the_limit_is_413() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode("", b"x" * 11, 10, 100)
    assert caught.value.status == 413


def test_a_window_over_8_mib_is_refused() -> None:
    params = zstandard.ZstdCompressionParameters.from_level(3, window_log=27, write_content_size=0)
    stream = zstandard.ZstdCompressor(compression_params=params).compressobj()
    body = stream.compress(b"x" * 1000) + stream.flush()
    with pytest.raises(ProtocolError) as caught:
        decode("zstd", body, 10**9, 10**6)
    assert caught.value.status == 400


@pytest.mark.parametrize("name", ["", *NAMES])
def test_inline_decoding_gives_up_past_its_bound_and_nothing_else(name: str) -> None:
    raw = os.urandom(2000)
    assert decode_inline(name, ENCODERS[name](raw), 4000) == raw
    assert decode_inline(name, ENCODERS[name](raw), 1999) is None


@pytest.mark.parametrize("header", [b"", b"identity", b"UTF-8", b" utf-8 "])
def test_no_encoding_has_four_spellings(header: bytes) -> None:
    assert canonical(header) == ""


@pytest.mark.parametrize("header", [b"this-does-not-exist", b"gzip, br", b"gzip,gzip", b"\xff"])
def test_an_unknown_or_a_second_encoding_is_415(header: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        canonical(header)
    assert caught.value.status == 415


BOMB = """
import gzip, sys, zlib, brotli, zstandard
from collector.errors import ProtocolError
from collector.protocol.encodings import decode

def peak():
    with open("/proc/self/status") as status:
        return int(status.read().split("VmHWM:")[1].split()[0])

name, path = sys.argv[1], sys.argv[2]
with open(path, "rb") as file:
    body = file.read()
decode("gzip", gzip.compress(b"warm"), 100, 100)
before = peak()
try:
    decode(name, body, 200 * 2**20, 100)
    print("taken", 0)
except ProtocolError as error:
    print(error.status, peak() - before)
"""
BOMBS = [*NAMES, "zstd-streamed"]


@pytest.mark.parametrize("kind", BOMBS)
def test_a_bomb_costs_less_than_32_mib(kind: str, tmp_path: object) -> None:
    path = f"{tmp_path}/bomb"
    zeros = bytes(150 * 2**20)
    body = streamed_zstd(zeros) if kind == "zstd-streamed" else ENCODERS[kind](zeros)
    with open(path, "wb") as file:
        file.write(body)
    command = [sys.executable, "-c", BOMB, kind.partition("-")[0], path]
    status, extra_kib = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert status == "413"
    assert int(extra_kib) < 32 * 1024


@pytest.mark.parametrize("behind", [b"\0", b"x" * 8, gzip.compress(b"other " * 50, mtime=0)])
def test_bytes_behind_a_stream_are_400_also_when_they_end_as_the_stream_does(behind: bytes) -> None:
    stream = gzip.compress(b"hello " * 500, mtime=0)
    for body in (stream + behind, stream + behind + stream[-8:], stream + stream[-8:], stream + stream):
        with pytest.raises(ProtocolError, match="invalid compressed body"):
            decode("gzip", body, 2**20, 100)
    assert decode("gzip", stream, 2**20, 100) == b"hello " * 500


@pytest.mark.parametrize("size", [0, 1, 2999, 3001, 2**31])
def test_a_size_in_the_trailer_that_is_not_the_streams_is_400(size: int) -> None:
    stream = gzip.compress(b"hello " * 500, mtime=0)
    with pytest.raises(ProtocolError, match="invalid compressed body"):
        decode("gzip", stream[:-4] + size.to_bytes(4, "little"), 2**20, 100)
