"""JSON as Go's encoding/json reads and writes it, because the node is written in Go.

Reading: keys match without regard to case (simple Unicode folding), the last spelling in the
document wins, `null` leaves a field alone, only the first value of a body is read, and unknown
keys are ignored. Writing: compact, and `<`, `>`, `&` are escaped.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

Json = dict[str, Any]

_KINDS: Mapping[type, str] = {
    bool: "bool",
    int: "number",
    float: "number",
    str: "string",
    list: "array",
    dict: "object",
}
_WANTED: Mapping[str, type] = {"string": str, "bool": bool, "array": list, "object": dict}
_ESCAPES = str.maketrans(
    {
        "<": "\\u003c",
        ">": "\\u003e",
        "&": "\\u0026",
        "\u2028": "\\u2028",
        "\u2029": "\\u2029",
    }
)


class BodyError(ValueError):
    """The body is not what Go would have decoded; the text is the node's own."""


def _fold(key: str) -> str:
    """Simple folding only: a character that folds to two (sharp s) matches nothing in Go."""
    return "".join(low if len(low := char.casefold()) == 1 else char for char in key)


def _last_wins(pairs: list[tuple[str, Any]]) -> Json:
    """A dict whose order is that of each key's last appearance."""
    found: Json = {}
    for key, value in pairs:
        found.pop(key, None)
        found[key] = value
    return found


def _no_constant(text: str) -> None:
    message = f"invalid character '{text[0]}' looking for beginning of value"
    raise BodyError(message)


_DECODER = json.JSONDecoder(object_pairs_hook=_last_wins, parse_constant=_no_constant)


def first_value(body: bytes) -> Any:
    """The first JSON value of a body, with Go's words for what is wrong."""
    text = body.decode("utf-8", "replace").lstrip(" \t\r\n")
    try:
        return _DECODER.raw_decode(text)[0]
    except json.JSONDecodeError as error:
        if error.pos >= len(text) or error.msg.startswith("Unterminated"):
            message = "unexpected EOF"
        else:
            char = text[error.pos]
            message = f"invalid character '{char}' looking for beginning of value"
        raise BodyError(message) from error


def folded(value: Json, fields: Mapping[str, str], struct: str) -> Json:
    """The known fields of an object under their Go names; wrong types are refused as Go does."""
    names = {_fold(name): name for name in fields}
    found: Json = {}
    for key, item in value.items():
        name = names.get(_fold(key))
        if name is None or item is None:
            continue
        wanted = _WANTED.get(fields[name])
        if wanted is not None and type(item) is not wanted:
            kind = _KINDS[type(item)]
            go = {"array": "[]", "object": "map"}.get(fields[name], fields[name])
            message = (
                f"json: cannot unmarshal {kind} into Go struct field {struct}.{name} of type {go}"
            )
            raise BodyError(message)
        found[name] = item
    return found


def read_object(body: bytes, fields: Mapping[str, str], struct: str, empty: str) -> Json:
    """A request body as the struct of that name; `empty` is the text for a missing body."""
    if not body.strip():
        raise BodyError(empty)
    value = first_value(body)
    if not isinstance(value, dict):
        kind = "null" if value is None else _KINDS[type(value)]
        if kind == "null":
            return {}
        message = f"json: cannot unmarshal {kind} into Go value of type api.{struct}"
        raise BodyError(message)
    return folded(value, fields, struct)


def dump(value: object) -> bytes:
    """Compact JSON with Go's HTML escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.translate(_ESCAPES).encode("utf-8", "surrogatepass")


def record(value: object) -> bytes:
    """One NDJSON line."""
    return dump(value) + b"\n"


def event(value: object, name: str | None = None) -> bytes:
    """One server-sent event."""
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + dump(value) + b"\n\n"


def stamp(at: float | None = None, nanos: int = 0) -> str:
    """RFC 3339 in UTC with nine fractional digits, as `created_at` has them."""
    moment = datetime.now(UTC) if at is None else datetime.fromtimestamp(at, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{moment.microsecond * 1000 + nanos:09d}Z"


def local_stamp(at: float) -> str:
    """RFC 3339 with the node's offset, as `modified_at` and `expires_at` have them."""
    moment = datetime.fromtimestamp(at, UTC).astimezone()
    offset = moment.strftime("%z")
    digits = f"{moment.microsecond * 1000 + 1:09d}"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{digits}{offset[:3]}:{offset[3:]}"
