"""Compressed request bodies: gzip and zstd, opened piece by piece, so that none can become a bomb.

A node understands zstd on some routes and gzip on none (reference 0), so a body is opened here and
goes on as it is. One call gives out one piece of at most `PIECE_BYTES`, however much its input
stands for: whoever collects the pieces stops at a limit having made one piece too many at most.
"""

from __future__ import annotations

import sys
import zlib
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PIECE_BYTES: Final = 256 * 1024

ZSTD_WINDOW_LOG: Final = 23
"""8 MiB: what a zstd frame may ask a receiver to keep, in HTTP (RFC 9659)."""

MAX_FRAMES: Final = 1_024
"""Of one body. Real ones have one; many empty ones would be work without content."""

_GZIP: Final = 16 + zlib.MAX_WBITS


class Coding(StrEnum):
    """How a body is compressed."""

    GZIP = "gzip"
    ZSTD = "zstd"


ACCEPTED: Final = ", ".join(Coding)
"""For an Accept-Encoding header in the answer to any other."""


class UnknownCodingError(Exception):
    """A Content-Encoding that is not opened here, or several in a row."""


class BadCodingError(Exception):
    """The body is not what its Content-Encoding says."""


def coding_of(header: str | None) -> Coding | None:
    """What a Content-Encoding header names; None: the body is as it is. Raises otherwise."""
    name = (header or "").strip().lower()
    if name in {"", "identity"}:
        return None
    try:
        return Coding(name.removeprefix("x-"))
    except ValueError:
        raise UnknownCodingError from None


class _Frame(Protocol):
    """One gzip member or zstd frame."""

    @property
    def eof(self) -> bool:
        """It has ended."""

    @property
    def unused_data(self) -> bytes:
        """What came behind its end."""

    def pieces(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes. Raises BadCodingError."""


class Opener:
    """Opens one body."""

    __slots__ = ("_frame", "_frames", "_make")

    def __init__(self, coding: Coding) -> None:
        self._make: Callable[[], _Frame] = _Gzip if coding is Coding.GZIP else _Zstd
        self._frame: _Frame | None = None
        self._frames = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The content of the next bytes, in pieces. Raises BadCodingError."""
        while data:
            if self._frame is None:
                self._frames += 1
                if self._frames > MAX_FRAMES:
                    raise BadCodingError
                self._frame = self._make()
            frame = self._frame
            yield from frame.pieces(data)
            if not frame.eof:
                return
            data, self._frame = frame.unused_data, None

    def end(self) -> None:
        """The body has ended. Raises BadCodingError when its coding has not, or never began."""
        if self._frame is not None or not self._frames:
            raise BadCodingError


class _Gzip:
    def __init__(self) -> None:
        self._raw = zlib.decompressobj(_GZIP)

    @property
    def eof(self) -> bool:
        return self._raw.eof

    @property
    def unused_data(self) -> bytes:
        return self._raw.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        is_full = True
        while (data or is_full) and not self._raw.eof:
            try:
                piece = self._raw.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise BadCodingError from error
            data, is_full = self._raw.unconsumed_tail, len(piece) == PIECE_BYTES
            if piece:
                yield piece


class _Zstd:
    def __init__(self) -> None:
        # Imported with the first such body: few instances ever see one.
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        self._error = zstd.ZstdError
        window: dict[int, int] = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
        self._raw = zstd.ZstdDecompressor(options=window)

    @property
    def eof(self) -> bool:
        return self._raw.eof

    @property
    def unused_data(self) -> bytes:
        return self._raw.unused_data

    def pieces(self, data: bytes) -> Iterator[bytes]:
        piece = b"-"
        while piece and not self._raw.eof:
            try:
                piece = self._raw.decompress(data, PIECE_BYTES)
            except self._error as error:
                raise BadCodingError from error
            data = b""  # it keeps what it has not opened yet
            if piece:
                yield piece
