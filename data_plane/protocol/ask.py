"""What a client asks for: its path and body become an Ask, or an error in the words of the route.

The body is opened at its top level only; what the values hold passes through byte for byte (key
order, large integers and spelling of numbers included). But it is always put together anew, with
every key once (see `members`) and exactly one `model`, the one that was judged: a node never sees
the client's own bytes.

Of a body that is too large to hold, the same is done with its outline.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Final

import msgspec

from data_plane.protocol import forms
from data_plane.protocol.asks import Ask, Form
from data_plane.protocol.features import DATED_KEYS, ROUTES, least_for_keys
from data_plane.protocol.large import LargeBody, Span
from data_plane.protocol.members import canonical_members, folded, members_of
from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.outline import Outline
from data_plane.protocol.routes import Framing, Route
from data_plane.protocol.shards import is_batch
from shared.codes import SENTENCES, ErrorCode
from shared.model_names import InvalidModelNameError, Source, canonical_name, split_source
from shared.releases import ANY_RELEASE, SUFFIXES, Release

MAX_SCALAR_BYTES: Final = 4_096
"""Of a value that is opened here. The longest sensible one is a model's name."""

_anything: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode

_TRUE: Final = ord("t")
_KINDS: Final[dict[int, str]] = {
    **dict.fromkeys(b"-0123456789", "number"),
    ord('"'): "string",
    ord("["): "array",
    ord("{"): "object",
    ord("t"): "bool",
    ord("f"): "bool",
    ord("n"): "null",
}
"""What a JSON value is, by its first byte."""

_SECOND_OF_EMPTY: Final = frozenset({b"", b'"', b"]", b"u", b" ", b"\t", b"\n", b"\r"})
"""The second byte of `""`, `[]`, `[ ]` and `null`: most values are told from these by it."""


def parse(route: Route, body: bytes | Outline, *, max_body_bytes: int) -> Ask:
    """Read the body of a route that has a model in it; raises BadRequestError."""
    if len(body) > max_body_bytes:
        raise BadRequestError(413, ErrorCode.PAYLOAD_TOO_LARGE)
    if isinstance(body, Outline):
        return _parse_large(route, body)
    if not body or body.isspace():
        detail = "missing request body" if route.path.startswith("/api/") else "EOF"
        raise BadRequestError(400, ErrorCode.INVALID_REQUEST, detail)
    members = canonical_members(body)
    is_canonical = members is not None
    if members is None:
        members = folded(members_of(body))
    model = _model(route, members)
    return _ask(route, members, model, body if is_canonical else _rebuilt(route, members, model))


def parse_form(route: Route, body: bytes, content_type: str, *, max_body_bytes: int) -> Ask:
    """Read the form of a route that takes one; raises BadRequestError."""
    if len(body) > max_body_bytes:
        raise BadRequestError(413, ErrorCode.PAYLOAD_TOO_LARGE)
    try:
        boundary = forms.boundary_of(content_type)
        parts = forms.parts_of(body, boundary)
    except forms.BadFormError:
        raise BadRequestError(400, ErrorCode.INVALID_FORM) from None
    model = _named_in(parts)
    content_type = f'multipart/form-data; boundary="{boundary}"'
    return _ask(route, {}, model, forms.written(parts, boundary), content_type)


def _named_in(parts: list[forms.Part]) -> str:
    named = [part for part in parts if part.name == b"model"]
    if len(named) > 1:
        raise BadRequestError(400, ErrorCode.DUPLICATE_KEY)
    try:
        model = bytes(named[0].content[:MAX_SCALAR_BYTES]).decode() if named else ""
    except UnicodeDecodeError:
        raise BadRequestError(400, ErrorCode.INVALID_MODEL) from None
    # A node takes a part with a filename for a file, and sees no model then.
    if not model.strip(" ") or named[0].filename is not None:
        raise BadRequestError(400, ErrorCode.INVALID_MODEL, "model is required")
    return model


def _parse_large(route: Route, outline: Outline) -> Ask:
    # Of a value that is cut off, nothing is asked but its kind and that it is long.
    members = folded([(each.key, msgspec.Raw(each.opening)) for each in outline.members])
    model = _model(route, members)
    return _ask(route, members, model, _rebuilt_large(route, members, model, outline))


def _ask(
    route: Route,
    members: dict[str, msgspec.Raw],
    model: str,
    body: bytes | LargeBody,
    content_type: str = "",
) -> Ask:
    streaming = _streaming(route, members)
    canonical, source = _judged(model)
    return Ask(
        route=route,
        model=model,
        canonical=canonical,
        source=source,
        streaming=streaming,
        form=_form(route, members),
        body=body,
        least=_least(route, members, source),
        content_type=content_type,
    )


def _least(route: Route, members: dict[str, msgspec.Raw], source: Source) -> Release:
    least = ROUTES.get(route.path, ANY_RELEASE)
    if not DATED_KEYS.isdisjoint(members):
        least = max(least, least_for_keys(route.path, DATED_KEYS.intersection(members)))
    return least if source is Source.ANY else max(least, SUFFIXES)


def _model(route: Route, members: dict[str, msgspec.Raw]) -> str:
    for key in route.model_keys:
        value = _scalar(route, members, key, "string", ErrorCode.INVALID_MODEL)
        if isinstance(value, str) and value.strip(" "):
            return value
    if route.names_empty_model:
        raise BadRequestError(404, ErrorCode.MODEL_NOT_FOUND, route.unknown_model(""))
    raise BadRequestError(400, ErrorCode.INVALID_MODEL, route.without_model)


@lru_cache(maxsize=4_096)
def _judged(model: str) -> tuple[str, Source]:
    try:
        base, source = split_source(model)
        canonical = canonical_name(base)
        return (canonical_name(model) if source is Source.CLOUD else canonical), source
    except InvalidModelNameError as error:
        both = "both" in str(error)
        detail = str(error) if both else SENTENCES[ErrorCode.INVALID_MODEL]
        raise BadRequestError(400, ErrorCode.INVALID_MODEL, detail) from None


def _streaming(route: Route, members: dict[str, msgspec.Raw]) -> bool:
    if route.framing is Framing.NONE:
        return False
    value = _scalar(route, members, "stream", "bool", ErrorCode.INVALID_REQUEST)
    return route.streams_by_default if value is None else bool(value)


def _form(route: Route, members: dict[str, msgspec.Raw]) -> Form:
    match route.path:
        case "/api/generate":
            is_empty = _is_empty(members.get("prompt"), b'""')
        case "/api/chat":
            is_empty = _is_empty(members.get("messages"), b"[]")
        case "/api/show":
            return Form.SHOW
        case "/api/embed" | "/v1/embeddings" if is_batch(members.get("input")):
            return Form.BATCH
        case _:
            is_empty = False
    if not is_empty:
        return Form.RUN
    return Form.UNLOAD if _is_zero(members.get("keep_alive")) else Form.LOAD


def _is_empty(raw: msgspec.Raw | None, empty: bytes) -> bool:
    if raw is None:
        return True
    view = memoryview(raw)
    # Only a short value can be an empty one; the white space within `[ ]` is of no interest.
    if len(view) >= 64:  # noqa: PLR2004 - see above
        return False
    data = bytes(view)
    return data[1:2] in _SECOND_OF_EMPTY and b"".join(data.split()) in {b"null", empty}


def _is_zero(raw: msgspec.Raw | None) -> bool:
    """Whether Go reads this `keep_alive` as no time at all: 0, 0.0, "0", "0s", "0h0m"."""
    if raw is None or _kind(raw) not in {"number", "string"}:
        return False
    digits = {byte for byte in bytes(memoryview(raw)[:32]) if chr(byte).isdigit()}
    return digits == {ord("0")}


def _rebuilt(route: Route, members: dict[str, msgspec.Raw], model: str) -> bytes:
    """The document again, with one `model` where the client named it first."""
    document: dict[str, Any] = {}
    for key, raw in members.items():
        if key not in route.model_keys:
            document[key] = raw
        elif "model" not in document:
            document["model"] = model
    return _encode(document)


def _rebuilt_large(
    route: Route, members: dict[str, msgspec.Raw], model: str, outline: Outline
) -> LargeBody:
    """The same, with the long values where they lie."""
    parts: list[bytes | Span] = []
    written = bytearray(b"{")
    has_model = False
    for (key, raw), (_, opening, span) in zip(members.items(), outline.members, strict=True):
        if key in route.model_keys:
            if not has_model:
                has_model = True
                written += b'"model":%b,' % _encode(model)
            continue
        written += b"%b:" % _encode(key)
        if span.size == len(opening):
            written += memoryview(raw)
        else:
            parts += bytes(written), span
            written.clear()
        written += b","
    written[-1:] = b"}"
    return LargeBody(outline.store, (*parts, bytes(written)))


def _scalar(
    route: Route, members: dict[str, msgspec.Raw], key: str, wanted: str, code: ErrorCode
) -> Any:
    """The value of a member of a certain kind; None when it is absent or null, as Go has it."""
    raw = members.get(key)
    if raw is None:
        return None
    view = memoryview(raw)
    kind = _KINDS[view[0]]
    if kind == "null":
        return None
    if kind != wanted:
        # The sentence of Go's decoder.
        field = f"{route.request_type}.{key}"
        detail = f"json: cannot unmarshal {kind} into Go struct field {field} of type {wanted}"
        raise BadRequestError(400, code, detail)
    if kind == "bool":
        return view[0] == _TRUE
    if len(view) > MAX_SCALAR_BYTES:
        raise BadRequestError(400, code)
    return _anything.decode(view)


def _kind(raw: msgspec.Raw) -> str:
    return _KINDS[memoryview(raw)[0]]
