"""The head of a node's answer, from bytes to meaning; and the head of ours, back to bytes.

Strict, because a proxy that repairs what it reads lets two readers disagree about where an answer
ends: every line ends in CRLF, names are tokens, values hold no control bytes, a length is stated
once and never beside a transfer coding, and the only coding is `chunked`.

Nodes say the same head again and again, so heads that were read are remembered; and each line of
them, since of a head that is new it is mostly the date or the length that is.
"""

from __future__ import annotations

import re
from functools import lru_cache
from http import HTTPStatus
from typing import Final

import msgspec

from data_plane.protocol.headers import Pairs, to_client

MAX_HEAD_BYTES: Final = 32 * 1024
"""Of a whole head: four of the longest lines. Real ones have some 150 bytes."""

MAX_LINE_BYTES: Final = 8_190
MAX_FIELDS: Final = 128
MAX_REMEMBERED: Final = 512
"""Heads kept, half a kilobyte each. They change with the second (Date) and with the length."""

_STATUS: Final = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: [\t\x20-\x7e\x80-\xff]*)?")
_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH: Final = re.compile(r"[0-9]{1,15}", re.ASCII)

_NO_BODY: Final = frozenset({204, 304})
_FIRST_FINAL: Final = 200


class BadHeadError(Exception):
    """The node's answer does not begin as HTTP does."""


class NodeHead(msgspec.Struct, frozen=True):
    """The head of one answer."""

    status: int
    fields: dict[str, str]
    """By lower-case name; of fields that were repeated the last."""

    passed: bytes
    """The lines that go on to a client, as they are written there."""

    length: int | None
    """Bytes of the body; None: until its own end, or the connection's."""

    is_chunked: bool
    keeps_alive: bool
    is_interim: bool = False
    """Whether another head follows. 101 is no such: nobody asked for another protocol."""


@lru_cache(maxsize=MAX_REMEMBERED)
def parse_head(data: bytes) -> NodeHead:
    """Read a head, its empty line included. Raises BadHeadError."""
    first, *lines = data[:-4].split(b"\r\n")
    found = _STATUS.fullmatch(first)
    if found is None:
        raise BadHeadError("no HTTP/1 status line")
    if len(lines) > MAX_FIELDS:
        raise BadHeadError("too many fields")
    pairs = [_field(line) for line in lines]
    fields = {name.lower(): value for name, value in pairs}
    status, is_1_1 = int(found[2]), found[1] == b"1"
    length, is_chunked = _framing(pairs, fields, status, is_1_1=is_1_1)
    connection = fields.get("connection", "").lower()
    return NodeHead(
        status=status,
        fields=fields,
        passed=encode_fields(to_client(pairs)),
        length=length,
        is_chunked=is_chunked,
        keeps_alive=(is_chunked or length is not None)
        and ("close" not in connection if is_1_1 else "keep-alive" in connection),
        is_interim=status < _FIRST_FINAL and status != HTTPStatus.SWITCHING_PROTOCOLS,
    )


@lru_cache(maxsize=MAX_REMEMBERED)
def _field(line: bytes) -> tuple[str, str]:
    name, colon, value = line.partition(b":")
    if not colon or _NAME.fullmatch(name) is None or _VALUE.fullmatch(value) is None:
        raise BadHeadError("a field that is none")
    if len(line) > MAX_LINE_BYTES:
        raise BadHeadError("a field is too long")
    return name.decode("ascii"), value.strip(b" \t").decode("latin-1")


def _framing(
    pairs: Pairs, fields: dict[str, str], status: int, *, is_1_1: bool
) -> tuple[int | None, bool]:
    """The length of the body if it is stated, and whether it is chunked."""
    names = [name.lower() for name, _ in pairs]
    lengths, codings = names.count("content-length"), names.count("transfer-encoding")
    if lengths > 1 or codings > 1 or (lengths and codings):
        raise BadHeadError("framed twice")
    if codings and (fields["transfer-encoding"].lower() != "chunked" or not is_1_1):
        raise BadHeadError("an unknown transfer coding")
    stated = fields.get("content-length")
    if stated is not None and _LENGTH.fullmatch(stated) is None:
        raise BadHeadError("a length that is none")
    if status < _FIRST_FINAL or status in _NO_BODY:
        return 0, False
    return (int(stated) if stated is not None else None), bool(codings)


def encode_fields(pairs: Pairs) -> bytes:
    """Header lines as they are written."""
    return "".join(f"{name}: {value}\r\n" for name, value in pairs).encode("latin-1")


@lru_cache(maxsize=MAX_REMEMBERED)
def status_line(status: int) -> bytes:
    """The first line of an answer of ours."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode("ascii")
