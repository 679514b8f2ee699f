"""The top level of a JSON object that is too large to hold, read while it passes by.

Kept of each member are its key, the beginning of its value, and where the value lies; that is
enough to judge it and to put the document together anew. What lies deeper is only followed to its
end: strings and brackets. Whatever is wrong there is the node's to refuse, and every node does,
because a document that it can read has exactly the members that are found here.

Values are passed over by regular expressions, a hundred megabytes in a few tenths of a second: a
step in Python for each bracket would let one body made for the purpose stop the loop.
"""

from __future__ import annotations

import codecs
import re
from enum import Enum, auto
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

from data_plane.protocol.large import Span
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.protocol.large import Store

MAX_KEYS: Final = 256
"""At the top level. The largest dialect knows some thirty."""

MAX_KEY_BYTES: Final = 1_024

OPENING_BYTES: Final = 4_097
"""Kept of a value: one more than the longest that is opened. With `MAX_KEYS` 1.3 MB at most."""

_STEP_BYTES: Final = 64 * 1024
"""Looked at in one go: what a regular expression remembers of a string grows with its escapes."""

_SPACE: Final = re.compile(rb"[ \t\r\n]*")
_SCALAR: Final = re.compile(rb"[^,}\] \t\r\n]*")
_REST_OF_STRING: Final = re.compile(rb'[^"\\]*(?:\\.[^"\\]*)*("|\\?)', re.DOTALL)
_STRING: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*("|\\?)', re.DOTALL)
"""To its quote, or to the end of what is there; the group is empty or a backslash then."""

_TOKEN: Final = re.compile(_STRING.pattern + rb"|[\[\]{}]", re.DOTALL)
_NO_BRACKETS: Final = bytes(set(range(256)) - set(b"[]{}"))
_STEPS: Final = [(byte in b"[{") - (byte in b"]}") for byte in range(256)]
"""By how much a byte leads deeper."""


class _At(Enum):
    BEGIN = auto()
    FIRST_KEY = auto()
    NEXT_KEY = auto()
    KEY = auto()
    COLON = auto()
    VALUE = auto()
    STRING = auto()
    NESTED = auto()
    SCALAR = auto()
    AFTER = auto()
    END = auto()


_PUNCTUATION: Final[dict[_At, dict[int, _At]]] = {
    _At.BEGIN: {ord("{"): _At.FIRST_KEY},
    _At.FIRST_KEY: {ord('"'): _At.KEY, ord("}"): _At.END},
    _At.NEXT_KEY: {ord('"'): _At.KEY},
    _At.COLON: {ord(":"): _At.VALUE},
    _At.VALUE: {
        ord('"'): _At.STRING,
        **dict.fromkeys(b"[{", _At.NESTED),
        **dict.fromkeys(b"-0123456789tfn", _At.SCALAR),
    },
    _At.AFTER: {ord(","): _At.NEXT_KEY, ord("}"): _At.END},
    _At.END: {},
}


class Member(NamedTuple):
    """One member of the object."""

    key: str
    opening: bytes
    """Its value, if that is short; else the beginning of it."""

    span: Span


class Outline:
    """A large object: its members in their order, twins included, and where it lies."""

    __slots__ = ("_size", "members", "store")

    def __init__(self, members: tuple[Member, ...], store: Store, size: int) -> None:
        self.members = members
        self.store = store
        self._size = size

    def __len__(self) -> int:
        return self._size


class OutlineError(Exception):
    """It is no JSON object, or one beyond the limits."""

    def __init__(self, code: ErrorCode) -> None:
        super().__init__(code)
        self.code = code


class Outliner:
    """Is fed the document as it arrives, cut anywhere. Raises OutlineError."""

    __slots__ = (
        "_at",
        "_depth",
        "_is_escaped",
        "_is_in_string",
        "_key",
        "_members",
        "_offset",
        "_opening",
        "_utf8",
        "_value_start",
    )

    def __init__(self) -> None:
        self._at = _At.BEGIN
        self._members: list[Member] = []
        self._offset = 0
        """How much was fed before the present step."""

        self._key = bytearray()
        self._opening = bytearray()
        self._value_start = 0
        self._depth = 0
        self._is_in_string = False
        """Within a nested value."""

        self._is_escaped = False
        """The next byte follows a backslash."""

        self._utf8 = codecs.getincrementaldecoder("utf-8")()

    def feed(self, data: bytes) -> None:
        """Read on."""
        for first in range(0, len(data), _STEP_BYTES):
            step = data[first : first + _STEP_BYTES]
            self._check_utf8(step, is_last=False)
            start = 0
            while start < len(step):
                start = self._read(step, start)
            self._offset += len(step)

    def end(self) -> tuple[Member, ...]:
        """The members, when all was fed."""
        self._check_utf8(b"", is_last=True)
        if self._at is not _At.END:
            raise OutlineError(ErrorCode.INVALID_JSON)
        return tuple(self._members)

    def _read(self, data: bytes, start: int) -> int:
        """Read one thing on; where what follows it begins."""
        match self._at:
            case _At.KEY:
                return self._read_key(data, start)
            case _At.STRING:
                end = self._to_quote(data, start)
                return self._pass(data, start, end)
            case _At.NESTED:
                return self._pass(data, start, self._to_bracket(data, start))
            case _At.SCALAR:
                found = _SCALAR.match(data, start)
                end = found.end() if found is not None else start
                return self._pass(data, start, end if end < len(data) else -1)
        return self._read_punctuation(data, start)

    def _read_punctuation(self, data: bytes, start: int) -> int:
        space = _SPACE.match(data, start)
        start = space.end() if space is not None else start
        if start == len(data):
            return start
        byte, before = data[start], self._at
        after = _PUNCTUATION[before].get(byte)
        if after is None:
            is_other_value = before is _At.BEGIN and byte in _PUNCTUATION[_At.VALUE]
            raise OutlineError(
                ErrorCode.INVALID_REQUEST if is_other_value else ErrorCode.INVALID_JSON
            )
        self._at = after
        if before is _At.VALUE:
            self._value_start = self._offset + start
            if after is _At.SCALAR:
                return start
            self._opening += data[start : start + 1]
            self._depth = 1
        return start + 1

    def _read_key(self, data: bytes, start: int) -> int:
        end = self._to_quote(data, start)
        self._key += data[start:] if end < 0 else data[start : end - 1]
        if len(self._key) > MAX_KEY_BYTES:
            raise OutlineError(ErrorCode.INVALID_REQUEST)
        if end < 0:
            return len(data)
        self._at = _At.COLON
        return end

    def _to_quote(self, data: bytes, start: int) -> int:
        """Behind the quote that ends the string which we are in; -1: it goes on behind `data`."""
        if self._is_escaped:
            self._is_escaped = False
            start += 1
        end = data.find(b'"', start)
        if data.find(b"\\", start, end if end >= 0 else len(data)) < 0:
            return end + 1 or -1
        found = _REST_OF_STRING.match(data, start)
        if found is None or found[1] != b'"':
            self._is_escaped = found is not None and found[1] == b"\\"
            return -1
        return found.end()

    def _to_bracket(self, data: bytes, start: int) -> int:
        """Behind the bracket that ends the value which we are in; -1: it goes on behind `data`."""
        if self._is_in_string:
            start = self._to_quote(data, start)
            if start < 0:
                return -1
            self._is_in_string = False
        rest = data[start:]
        quotes = _STRING.findall(rest)
        steps = [_STEPS[byte] for byte in _STRING.sub(b"", rest).translate(None, _NO_BRACKETS)]
        if min(accumulate(steps), default=0) + self._depth > 0:
            self._depth += sum(steps)
            self._is_in_string = bool(quotes) and quotes[-1] != b'"'
            self._is_escaped = self._is_in_string and quotes[-1] == b"\\"
            return -1
        for token in _TOKEN.finditer(data, start):
            self._depth += _STEPS[data[token.start()]]
            if not self._depth:
                return token.end()
        raise AssertionError  # the sum above has said that it ends here

    def _pass(self, data: bytes, start: int, end: int) -> int:
        """A value is passed over, to `end` if that is its own, else (-1) as far as it is there."""
        room = OPENING_BYTES - len(self._opening)
        stop = len(data) if end < 0 else end
        if room > 0:
            self._opening += data[start : min(stop, start + room)]
        if end >= 0:
            self._end_member(self._offset + end)
        return stop

    def _end_member(self, end: int) -> None:
        if len(self._members) == MAX_KEYS:
            raise OutlineError(ErrorCode.INVALID_REQUEST)
        span = Span(self._value_start, end - self._value_start)
        opening = bytes(self._opening)
        try:
            key = msgspec.json.decode(b'"%b"' % bytes(self._key), type=str)
            if span.size == len(opening):
                msgspec.json.decode(opening)
            elif self._at is _At.SCALAR:
                raise OutlineError(ErrorCode.INVALID_JSON)
        except (msgspec.DecodeError, RecursionError) as error:
            raise OutlineError(ErrorCode.INVALID_JSON) from error
        self._members.append(Member(key, opening, span))
        self._key.clear()
        self._opening.clear()
        self._at = _At.AFTER

    def _check_utf8(self, data: bytes, *, is_last: bool) -> None:
        if not is_last and data.isascii() and not self._utf8.getstate()[0]:
            return
        try:
            self._utf8.decode(data, is_last)
        except UnicodeDecodeError as error:
            raise OutlineError(ErrorCode.INVALID_JSON) from error
