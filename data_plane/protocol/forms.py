"""multipart/form-data: which model a form names, and the form put together anew.

The part that names the model may come after the file, so a form is read whole before anything is
decided. It is written anew as a JSON body is, for the same reason: two readers of one form need not
agree (a name that stands twice, `name*=`, line ends without CR, a transfer encoding), and what a
node runs must be what was judged. What parts hold passes through byte for byte.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_PARTS: Final = 64
"""A transcription has about ten fields."""

MAX_PART_HEAD_BYTES: Final = 4_096

_TYPE: Final = re.compile(
    r"multipart/form-data\s*;(?:.*;)?\s*boundary=(?:\"([^\"]+)\"|([^\s\";]+))\s*(?:;.*)?",
    re.IGNORECASE,
)
_BOUNDARY: Final = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]", re.ASCII)
_NAME: Final = re.compile(rb'(?:^|;)\s*name=(?:"([\w.\[\]-]{1,64})"|([\w.-]{1,64}))\s*(?=;|$)')
_FILENAME: Final = re.compile(rb'(?:^|;)\s*filename=(?:"((?:[^"\\]|\\.)*)"|([^\s";]+))\s*(?=;|$)')
_CLEAN: Final = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_CRLF: Final = b"\r\n"
_PADDING: Final = re.compile(rb"[ \t]*\r\n")


class BadFormError(Exception):
    """The body is no form, or one that could be read in two ways."""


class Part(NamedTuple):
    """One field of a form."""

    name: bytes
    filename: bytes | None
    content_type: bytes
    content: memoryview


def boundary_of(content_type: str) -> str:
    """What parts the parts, by a Content-Type header. Raises BadFormError."""
    found = _TYPE.fullmatch(content_type.strip())
    boundary = (found[1] or found[2]) if found else ""
    if not _BOUNDARY.fullmatch(boundary):
        raise BadFormError
    return boundary


def parts_of(body: bytes, boundary: str) -> list[Part]:
    """The fields of a form in their order. Raises BadFormError."""
    delimiter = _CRLF + b"--" + boundary.encode("ascii")
    if not body.startswith(delimiter[2:]):
        raise BadFormError
    parts: list[Part] = []
    at = len(delimiter) - 2
    while not body.startswith(b"--", at):
        padding = _PADDING.match(body, at)
        if padding is None or len(parts) == MAX_PARTS:
            raise BadFormError
        # The line end of the delimiter also begins the one that follows an empty part.
        end = body.find(delimiter, padding.end() - 2)
        if end < 0:
            raise BadFormError
        parts.append(_part(body, padding.end(), end))
        at = end + len(delimiter)
    return parts


def written(parts: list[Part], boundary: str) -> bytes:
    """The form again; its boundary stands in no part, for it has parted them."""
    mark = b"--" + boundary.encode("ascii")
    pieces: list[bytes | memoryview] = []
    for part in parts:
        pieces.append(b'%b\r\nContent-Disposition: form-data; name="%b"' % (mark, part.name))
        if part.filename is not None:
            pieces.append(b'; filename="%b"' % part.filename)
        if part.content_type:
            pieces.append(b"\r\nContent-Type: %b" % part.content_type)
        pieces += (b"\r\n\r\n", part.content, _CRLF)
    pieces.append(mark + b"--\r\n")
    return b"".join(pieces)


def _part(body: bytes, start: int, end: int) -> Part:
    head_end = body.find(b"\r\n\r\n", start, min(end, start + MAX_PART_HEAD_BYTES))
    if head_end < 0:
        raise BadFormError
    fields: dict[bytes, bytes] = {}
    for line in body[start:head_end].split(_CRLF):
        name, colon, value = line.partition(b":")
        name = name.lower()
        if not colon or name in fields or not _CLEAN.fullmatch(value):
            raise BadFormError
        fields[name] = value.strip()
    kind, _, rest = fields.get(b"content-disposition", b"").partition(b";")
    names, filenames = _NAME.findall(rest), _FILENAME.findall(rest)
    if kind.strip().lower() != b"form-data" or len(names) != 1 or len(filenames) > 1:
        raise BadFormError
    return Part(
        name=names[0][0] or names[0][1],
        filename=filenames[0][0] or filenames[0][1] if filenames else None,
        content_type=fields.get(b"content-type", b""),
        content=memoryview(body)[head_end + 4 : end],
    )
