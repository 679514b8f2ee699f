"""Where the body of a node's answer ends, and what of the bytes between is its content.

A decoder is fed what arrives, cut wherever the network cut it, and gives back content. It never
raises: what cannot be read ends it with `error`, and the content before it is still given out.

Nodes write one record as one chunk, and it mostly arrives as one piece: `is_whole` then says that
the bytes may be passed on exactly as they came.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from data_plane.protocol.heads import NodeHead

MAX_SIZE_LINE_BYTES: Final = 256
"""A chunk's size and its extensions, which nobody uses."""

MAX_TRAILER_BYTES: Final = 8_190
"""Trailers are read and dropped."""

FINAL_CHUNK: Final = b"0\r\n\r\n"
_LAST_OF_ALL: Final = b"\r\n" + FINAL_CHUNK

_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})(?:;[\t\x20-\x7e\x80-\xff]*)?\r\n")
CRLF: Final = b"\r\n"

MOST_OF_RECORDS: Final = 8_192
"""Bytes of a chunk with all around it: longer ones are read the long way."""


def _size_lines() -> list[bytes]:
    lines = [b"?" * (length + 1) for length in range(MOST_OF_RECORDS)]
    for size in range(1, MOST_OF_RECORDS):
        line = b"%x\r\n" % size
        if (length := len(line) + size + len(CRLF)) < MOST_OF_RECORDS:
            lines[length] = line
    return lines


SIZE_LINES: Final = _size_lines()
"""How a chunk begins that is as long as the index, as Go writes it: to look whether it does is
quicker than to read the number. Where no chunk is of that length, it is a line that is longer."""


class Body(ABC):
    """One body on its way."""

    __slots__ = ("done", "error", "has_extra", "is_aligned", "is_whole")

    def __init__(self) -> None:
        self.done = False
        """It has ended as its framing says."""

        self.error = ""
        """Why it cannot be read any further, "" while it can."""

        self.has_extra = False
        """More bytes came than were announced."""

        self.is_whole = False
        """The last piece was exactly one chunk."""

        self.is_aligned = False
        """The next byte is the first one of a chunk."""

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """The content of the next piece."""

    @abstractmethod
    def end(self) -> None:
        """The connection has ended, cleanly."""


class SizedBody(Body):
    """As long as was announced."""

    __slots__ = ("_left",)

    def __init__(self, length: int) -> None:
        super().__init__()
        self.done = length == 0
        self._left = length

    def feed(self, data: bytes) -> bytes:
        """The content of the next piece."""
        self._left -= len(data)
        if self._left > 0:
            return data
        self.done = True
        if self._left == 0:
            return data
        self.has_extra = True
        content, self._left = data[: self._left], 0
        return content

    def end(self) -> None:
        """The connection has ended, cleanly."""
        if not self.done:
            self.error = "shorter than announced"


class OpenBody(Body):
    """Until the connection ends."""

    __slots__ = ()

    def feed(self, data: bytes) -> bytes:
        """The content of the next piece."""
        return data

    def end(self) -> None:
        """The connection has ended, cleanly."""
        self.done = True


class _At(Enum):
    SIZE = auto()
    DATA = auto()
    DATA_END = auto()
    TRAILER = auto()


_LINE_LIMITS: Final = {
    _At.SIZE: MAX_SIZE_LINE_BYTES,
    _At.DATA_END: len(CRLF),
    _At.TRAILER: MAX_TRAILER_BYTES,
}


class ChunkedBody(Body):
    """In chunks, each with its size before it."""

    __slots__ = ("_at", "_left", "_line", "_trailer_left")

    def __init__(self) -> None:
        super().__init__()
        self._at = _At.SIZE
        self.is_aligned = True
        self._left = 0
        self._line = b""
        self._trailer_left = MAX_TRAILER_BYTES

    def feed(self, data: bytes) -> bytes:
        """The content of the next piece."""
        if self.is_aligned and len(data) < MOST_OF_RECORDS:
            line = SIZE_LINES[len(data)]
            if data.startswith(line) and data.endswith(CRLF):
                self.is_whole = True
                return data[len(line) : -len(CRLF)]
            if data.endswith(_LAST_OF_ALL):
                line = SIZE_LINES[len(data) - len(FINAL_CHUNK)]
                if data.startswith(line):
                    self.is_whole = self.is_aligned = False
                    self.done = True
                    return data[len(line) : -len(_LAST_OF_ALL)]
        self.is_whole = False
        return self._feed_parts(data)

    def _feed_parts(self, data: bytes) -> bytes:
        parts = []
        start, end = 0, len(data)
        while start < end and not self.done and not self.error:
            if self._at is _At.DATA:
                part = data[start : start + self._left]
                parts.append(part)
                start += len(part)
                self._left -= len(part)
                if not self._left:
                    self._at = _At.DATA_END
            else:
                start = self._feed_line(data, start)
        self.has_extra = start < end
        self.is_aligned = self._at is _At.SIZE and not self._line
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _feed_line(self, data: bytes, start: int) -> int:
        """Read on in a line; where what follows it begins."""
        limit = _LINE_LIMITS[self._at] - len(self._line)
        end = data.find(b"\n", start, start + limit) + 1
        if end:
            line, self._line = self._line + data[start:end], b""
            self._take_line(line)
            return end
        self._line += data[start : start + limit]
        if len(data) - start >= limit:
            self.error = "a chunk that is none"
        return len(data)

    def _take_line(self, line: bytes) -> None:
        if self._at is _At.SIZE:
            found = _SIZE.fullmatch(line)
            if found is None:
                self.error = "a chunk without its size"
                return
            self._left = int(found[1], 16)
            self._at = _At.DATA if self._left else _At.TRAILER
        elif not line.endswith(CRLF):
            self.error = "a bare line feed"
        elif line == CRLF:
            self.done = self._at is _At.TRAILER
            self._at = _At.SIZE
        else:
            self._trailer_left -= len(line)
            if self._at is not _At.TRAILER or self._trailer_left < 0:
                self.error = "a chunk longer than its size"

    def end(self) -> None:
        """The connection has ended, cleanly."""
        if not self.done:
            self.error = "the last chunk is missing"


def body_of(head: NodeHead) -> Body:
    """The decoder for the body that this head announces."""
    if head.is_chunked:
        return ChunkedBody()
    return OpenBody() if head.length is None else SizedBody(head.length)
