"""Compressed request bodies, by reference 0 and 6.7."""

import gzip
import importlib
import itertools
import sys

import pytest

from data_plane.protocol.codings import (
    MAX_FRAMES,
    PIECE_BYTES,
    BadCodingError,
    Coding,
    Opener,
    UnknownCodingError,
    coding_of,
)

zstd = importlib.import_module(
    "compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd"
)
TEXT = b'{"model":"llama3.2","prompt":"Why?"}' * 40_000
PACKED = {Coding.GZIP: gzip.compress(TEXT), Coding.ZSTD: zstd.compress(TEXT)}
BOMBS = {
    Coding.GZIP: gzip.compress(bytes(300_000_000), 9),
    Coding.ZSTD: zstd.compress(bytes(300_000_000), 9),
}


def opened(coding: Coding, *parts: bytes) -> bytes:
    opener = Opener(coding)
    content = b"".join(piece for part in parts for piece in opener.feed(part))
    opener.end()
    return content


@pytest.mark.parametrize("coding", Coding)
def test_a_body_is_opened_wherever_the_network_cut_it(coding) -> None:
    packed = PACKED[coding]
    assert opened(coding, packed) == TEXT
    assert opened(coding, *(packed[at : at + 1] for at in range(len(packed)))) == TEXT
    for cut in range(0, len(packed), max(1, len(packed) // 20)):
        assert opened(coding, packed[:cut], packed[cut:]) == TEXT


@pytest.mark.parametrize("coding", Coding)
def test_several_frames_are_one_body(coding) -> None:
    assert opened(coding, PACKED[coding] + PACKED[coding]) == TEXT + TEXT


@pytest.mark.parametrize("coding", Coding)
def test_a_bomb_comes_out_in_small_pieces(coding) -> None:
    pieces = Opener(coding).feed(BOMBS[coding])
    assert max(len(piece) for piece in itertools.islice(pieces, 20)) <= PIECE_BYTES


@pytest.mark.parametrize("coding", Coding)
@pytest.mark.parametrize("what", ["nonsense", "cut short", "nothing", "more behind", "bent"])
def test_what_is_not_compressed_so_is_refused(coding, what) -> None:
    packed = PACKED[coding]
    bent = bytearray(packed)
    bent[len(bent) // 2] ^= 0xFF
    bad = {
        "nonsense": b"nonsense that is long enough",
        "cut short": packed[:-3],
        "nothing": b"",
        "more behind": packed + b"nonsense that is long enough",
        "bent": bytes(bent),
    }[what]
    if coding is Coding.ZSTD and what == "bent":
        bad = packed[:4] + bytes([packed[4] ^ 0x08]) + packed[5:]  # the reserved bit
    with pytest.raises(BadCodingError):
        opened(coding, bad)


def test_a_zstd_frame_may_not_ask_for_more_memory_than_http_allows() -> None:
    options = {zstd.CompressionParameter.window_log: 27}
    # Of unknown length, so that the frame cannot be opened within its own size.
    packer = zstd.ZstdCompressor(options=options)
    packed = packer.compress(TEXT) + packer.flush()
    with pytest.raises(BadCodingError):
        opened(Coding.ZSTD, packed)


@pytest.mark.parametrize("coding", Coding)
def test_empty_frames_without_end_are_refused(coding) -> None:
    empty = gzip.compress(b"") if coding is Coding.GZIP else zstd.compress(b"")
    with pytest.raises(BadCodingError):
        opened(coding, empty * (MAX_FRAMES + 1))


def test_what_a_header_names() -> None:
    assert coding_of(None) is coding_of("") is coding_of("Identity") is None
    assert coding_of("GZIP") is coding_of("x-gzip") is Coding.GZIP
    assert coding_of(" zstd ") is Coding.ZSTD
    for other in ("br", "deflate", "gzip, zstd", "gzip,gzip"):
        with pytest.raises(UnknownCodingError):
            coding_of(other)
