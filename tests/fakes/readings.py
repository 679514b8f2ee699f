"""How HTTP readers differ: the corpus of hostile/, messages taken apart, and their verdicts kept.

Bytes stand in JSON and TOML as text, one character for each (Latin-1).
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

HOSTILE: Final = Path(__file__).resolve().parents[1] / "data_plane" / "hostile"
VERDICTS: Final = HOSTILE / "verdicts.json"
MAX_CASE_BYTES: Final = 4_096
FRAMING: Final = frozenset({b"host", b"content-length", b"transfer-encoding", b"connection"})
"""Header lines that say where a message ends or whose it is."""

_PLAIN: Final = re.compile(rb"[A-Za-z0-9-]+: [\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_REPEATED: Final = re.compile(r"<(\d+)\*([^<>]+)>", re.DOTALL)
_PORT: Final = re.compile(rb"(?<=\d):\d+$")


class MalformedError(Exception):
    """A message that no strict reader takes for exactly one request."""


class Shape(NamedTuple):
    """What of a message decides how it is read."""

    request_line: bytes
    framing: tuple[bytes, ...]
    is_plain: bool
    """Whether each other header line is `name: printable characters`."""

    body: bytes


def text(message: bytes) -> str:
    """As it stands in the files."""
    return message.decode("latin-1")


def data(written: str) -> bytes:
    """What stands in the files, as it is sent."""
    return written.encode("latin-1")


def corpus() -> list[bytes]:
    """Every case, without doubles and without those that are only about size."""
    found = dict.fromkeys(_cases())
    return [case for case in found if len(case) <= MAX_CASE_BYTES]


def ambiguous() -> list[bytes]:
    """The cases of ambiguous.toml."""
    return list(
        map(data, tomllib.loads((HOSTILE / "ambiguous.toml").read_text("utf-8"))["requests"])
    )


def _cases() -> Iterator[bytes]:
    yield from ambiguous()
    for case in tomllib.loads((HOSTILE / "seeds.toml").read_text("utf-8"))["requests"]:
        yield data(case)
    for row in tomllib.loads((HOSTILE / "framing.toml").read_text("utf-8"))["row"]:
        for word in row.get("with", [""]) if "raw" in row else ():
            case = row["raw"].replace("%s", word) + row.get("then", "")
            while (longer := _REPEATED.sub(lambda hit: hit[2] * int(hit[1]), case)) != case:
                case = longer
            yield data(case)


def shape(message: bytes) -> Shape:
    """Take one message apart, strictly. Raises MalformedError when it is not exactly one."""
    head, end, rest = message.partition(b"\r\n\r\n")
    request_line, *lines = head.split(b"\r\n")
    fields = [(line.partition(b":")[0].lower(), line) for line in lines]
    framing = tuple(_PORT.sub(b"", line) for name, line in fields if name in FRAMING)
    others = [line for name, line in fields if name not in FRAMING]
    if not end or any(b"\n" in line or b"\r" in line for line in (request_line, *lines)):
        raise MalformedError("no head")
    names = [name for name, _ in fields]
    if names.count(b"content-length") + names.count(b"transfer-encoding") > 1:
        raise MalformedError("more than one length")
    body = _chunks(rest) if b"transfer-encoding" in names else rest
    length = [line.partition(b":")[2] for name, line in fields if name == b"content-length"]
    if b"transfer-encoding" not in names and len(body) != int((length or [b"0"])[0]):
        raise MalformedError(f"the body is not as long as announced: {message!r}")
    return Shape(request_line, framing, all(_PLAIN.fullmatch(line) for line in others), body)


def is_whole(message: bytes) -> bool:
    """Whether it is one request, and all of it."""
    try:
        shape(message)
    except MalformedError:
        return False
    return True


def _chunks(rest: bytes) -> bytes:
    body = b""
    while True:
        size_line, end, rest = rest.partition(b"\r\n")
        try:
            size = int(size_line.partition(b";")[0], 16)
        except ValueError:
            raise MalformedError(f"no chunk size: {size_line!r}") from None
        if end and not size:
            if rest != b"\r\n" and rest.find(b"\r\n\r\n") != len(rest) - 4:
                raise MalformedError("something behind the last chunk")
            return body
        if not end or rest[size : size + 2] != b"\r\n":
            raise MalformedError("a chunk that does not end")
        body += rest[:size]
        rest = rest[size + 2 :]


def misread(sent: bytes, read: list[bytes]) -> str:
    """How somebody's reading of one message of ours differs from ours; "" when it does not."""
    if len(read) != 1:
        return f"{len(read)} requests instead of one"
    ours, theirs = shape(sent), shape(read[0])
    if ours.request_line != theirs.request_line:
        return f"{theirs.request_line!r} instead of {ours.request_line!r}"
    if ours.body != theirs.body:
        return f"a body of {len(theirs.body)} bytes instead of {len(ours.body)}"
    return ""
