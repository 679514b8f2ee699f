"""The top level of a body: every key once and in its known spelling, every value as it came.

Go matches keys without regard to case and lets the last one win, so
`{"model":"allowed","MODEL":"forbidden"}` would run what was never checked. Hence keys that are
equal when case is folded (the long s and the Kelvin sign included) are refused, and a known key in
another spelling is read as its own. Values are checked and never rewritten.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.outline import MAX_KEYS
from shared.codes import ErrorCode

WHOLE_CHECK_BYTES: Final = 256 * 1024
"""Up to this size the values are decoded and thrown away, to refuse numbers that no node can hold.
Above it a body made for the purpose would block the loop for more than some milliseconds, and the
grammar has to do: such numbers pass through us untouched, and are the node's to refuse."""

_UTF8_STEP_BYTES: Final = 1024 * 1024

# Keys that decide about placement, permission or policy, now or in a later release. Unknown keys
# keep their spelling.
KNOWN_KEYS: Final = frozenset({
    "model", "name", "stream", "keep_alive", "prompt", "messages", "options", "input", "suffix",
    "system", "template", "context", "raw", "format", "images", "think", "tools", "truncate",
    "shift", "logprobs", "top_logprobs", "max_tokens", "stream_options", "dimensions", "verbose",
    "instructions", "max_output_tokens", "reasoning", "tool_choice", "_debug_render_only",
    "insecure", "from", "files", "adapters", "draft_files", "source", "destination", "quantize",
    "quantization", "draft_quantize", "remote_host", "username", "password",
})  # fmt: skip


class _Key:
    """One key of the document. Two are never equal, so that a decoded dict keeps twins apart."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text


def _keep_key(_type: type, text: Any) -> _Key:
    return _Key(text)


_members_once: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_top_level: Final = msgspec.json.Decoder(dict[_Key, msgspec.Raw], dec_hook=_keep_key)
_anything: Final = msgspec.json.Decoder()
_encode: Final = msgspec.json.Encoder().encode


def canonical_members(body: bytes) -> dict[str, msgspec.Raw] | None:
    """The members of a body that is written as we would write it ourselves, else None.

    Most clients write that way, and then nothing is left to repair: what equals our own writing of
    a dict has no twins and no white space between members, and keys of lower-case ASCII are their
    own folded forms.
    """
    try:
        members = _members_once.decode(body)
        if _encode(members) != body or len(members) > MAX_KEYS or "name" in members:
            return None
        keys = "".join(members)
        if not keys.isascii() or keys != keys.lower():
            return None
        _check_utf8(body)
        if len(body) <= WHOLE_CHECK_BYTES:
            _anything.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None  # the careful reading finds the words for it
    return members


def members_of(body: bytes) -> list[tuple[str, msgspec.Raw]]:
    """The members of the document in their order, twins included."""
    try:
        _check_utf8(body)
        members = _top_level.decode(body)
        if len(body) <= WHOLE_CHECK_BYTES:
            _anything.decode(body)
    except msgspec.ValidationError:
        raise BadRequestError(400, _kind_of_mistake(body)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequestError(400, ErrorCode.INVALID_JSON) from None
    if len(members) > MAX_KEYS:
        raise BadRequestError(400, ErrorCode.INVALID_REQUEST)
    return [(key.text, raw) for key, raw in members.items()]


def _kind_of_mistake(body: bytes) -> ErrorCode:
    """An object with a number out of range is no good JSON; another value is no good request."""
    is_object = body.lstrip(b" \t\r\n").startswith(b"{")
    return ErrorCode.INVALID_JSON if is_object else ErrorCode.INVALID_REQUEST


def _check_utf8(body: bytes) -> None:
    """Refuse what is no UTF-8: msgspec does not see it in strings that nobody asked for."""
    if body.isascii():
        return
    view = memoryview(body)
    start = 0
    while start < len(body):
        end = min(start + _UTF8_STEP_BYTES, len(body))
        # A step must not end within a character: back to before its first byte.
        while end < len(body) and end > start and body[end] & 0xC0 == 0x80:  # noqa: PLR2004 - see above
            end -= 1
        str(view[start:end], "utf-8")
        start = end


def folded(pairs: list[tuple[str, msgspec.Raw]]) -> dict[str, msgspec.Raw]:
    """By key, known keys in their own spelling; two that fold to the same are refused."""
    members: dict[str, msgspec.Raw] = {}
    seen: set[str] = set()
    for text, raw in pairs:
        plain = text.casefold()
        if plain in seen:
            raise BadRequestError(400, ErrorCode.DUPLICATE_KEY)
        seen.add(plain)
        members[plain if plain in KNOWN_KEYS else text] = raw
    return members
