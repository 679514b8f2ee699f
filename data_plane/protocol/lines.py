"""What the scanners of streams share: watching lines go by without holding them up.

The bytes are relayed as they come; a scanner only looks on. Most chunks are whole lines that say
nothing about the end, and must cost next to nothing: such a chunk is searched for a few needles
and forgotten. A needle is a hint and no proof, since a model may write anything: the line that
holds it is parsed. Parts of a line are kept until the line is whole, up to `MAX_LINE_BYTES`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

if TYPE_CHECKING:
    from data_plane.protocol.endings import Usage

MAX_LINE_BYTES: Final = 8 * 1024 * 1024
"""The Go client reads no longer line, so no working client would notice that we do not either.
Beyond, the line is no longer kept but searched for `giant_end` as it passes."""


class LineScanner(ABC):
    """Watches one stream."""

    __slots__ = (
        "_hints",
        "_mark",
        "_max_line_bytes",
        "done",
        "error",
        "is_giant",
        "last",
        "rest",
        "usage",
    )

    needles: ClassVar[tuple[bytes, ...]] = ()
    """A line without any of these is of no interest."""

    record_end: ClassVar[bytes] = b"\n"
    """How the record in a chunk ends."""

    giant_end: ClassVar[bytes] = b""
    """What makes a line that is too long to keep pass for the last one; empty: nothing."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self.done = False
        """The record that ends a whole answer was seen."""

        self.usage: Usage | None = None
        self.error: str | None = None
        """Text of an error record within the stream."""

        self._max_line_bytes = max_line_bytes
        # At hand: to look at the class costs more than the search.
        self._hints = self.needles
        self._mark = self.record_end
        self.rest = bytearray()
        """The beginning of a line that is not whole yet."""

        self.is_giant = False
        """Within a line that is too long to keep."""

        self.last = b""
        """What was fed last, or how it ended."""

    def feed(self, chunk: bytes) -> None:
        """Look at the next bytes, cut wherever the network cut them."""
        self.last = chunk
        if self.rest or self.is_giant or not chunk.endswith(b"\n"):
            self._feed_parts(chunk)
            return
        if self._is_of_interest(chunk):
            self._read_lines(chunk)

    def end(self) -> None:
        """The stream is over: what is left without a line end counts as a line."""
        if self.rest:
            line = bytes(self.rest)
            self.rest.clear()
            self._read_lines(line)

    def is_between_records(self) -> bool:
        """Whether nothing is kept, and what comes next is the beginning of a record."""
        return not self.rest and not self.is_giant and self.last.endswith(self._mark)

    @property
    def separator(self) -> bytes:
        """What to send before a record of our own, so that it does not grow onto a broken line."""
        return b"\n" if self.rest or self.is_giant else b""

    @abstractmethod
    def read_line(self, line: bytes) -> None:
        """Learn from one line that holds a needle."""

    def _feed_parts(self, chunk: bytes) -> None:
        end = chunk.rfind(b"\n") + 1
        if end:
            self._read_lines(self._closed(chunk, end))
            chunk = chunk[end:]
        if self.is_giant:
            self._pass_giant(chunk)
        else:
            self.rest += chunk
            if len(self.rest) > self._max_line_bytes:
                self.is_giant = True
                kept, self.rest = bytes(self.rest), bytearray()
                self._pass_giant(kept)

    def _closed(self, chunk: bytes, end: int) -> bytes:
        """The whole lines of a chunk, the kept beginning of the first one put before it."""
        if self.is_giant:
            first = chunk.index(b"\n") + 1
            self._pass_giant(chunk[:first])
            self.is_giant = False
            self.rest.clear()
            return chunk[first:end]
        if not self.rest:
            return chunk[:end]
        self.rest += chunk[:end] if end < len(chunk) else chunk
        lines = bytes(self.rest)
        self.rest.clear()
        return lines

    def _pass_giant(self, part: bytes) -> None:
        """Search a part of a giant line; `rest` holds as much as a needle may be cut at."""
        if not self.giant_end:
            return
        window = bytes(self.rest) + part
        if self.giant_end in window:
            self.done = True
        self.rest[:] = window[-len(self.giant_end) + 1 :]

    def _read_lines(self, lines: bytes) -> None:
        if self._is_of_interest(lines):
            for line in lines.split(b"\n"):
                if line and self._is_of_interest(line):
                    self.read_line(line)

    def _is_of_interest(self, data: bytes) -> bool:
        # No `any`: a generator costs more than the search. No `in`: it tries the needle as a
        # number first, and the error that this makes costs as much again.
        for needle in self._hints:  # noqa: SIM110 - see above
            if data.find(needle) >= 0:
                return True
        return False
