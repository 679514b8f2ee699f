"""What the policy wants to know of a request: read once, and only where a strategy asks for it."""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.events import Arrival
from data_plane.routing.prefix import block_hashes

if TYPE_CHECKING:
    from data_plane.protocol.asks import Ask
    from data_plane.routing.pools import Pools

MAX_READ_BYTES: Final = 1024 * 1024
"""Of a larger body (images, mostly) nothing is read here; its prompt counts as a usual one."""

BYTES_PER_TOKEN: Final = 4
"""To begin with; the policy learns it for each model."""

LOAD_OPTIONS: Final = frozenset({
    "num_ctx", "num_gpu", "num_batch", "num_thread", "main_gpu", "use_mmap", "use_mlock", "numa",
    "low_vram", "f16_kv", "vocab_only",
})  # fmt: skip
"""Ollama loads a model anew when one of these differs."""

EMBEDDING_PATHS: Final = frozenset({"/api/embed", "/api/embeddings", "/v1/embeddings"})

_NOTHING: Final = msgspec.Raw(b"")


class _Message(msgspec.Struct):
    role: str = ""
    content: msgspec.Raw = _NOTHING
    images: msgspec.Raw = _NOTHING
    tool_calls: msgspec.Raw = _NOTHING


class _Body(msgspec.Struct):
    options: dict[str, msgspec.Raw] | None = None
    messages: list[_Message] | None = None
    tools: msgspec.Raw = _NOTHING
    system: msgspec.Raw = _NOTHING
    prompt: msgspec.Raw = _NOTHING
    images: msgspec.Raw = _NOTHING
    input: msgspec.Raw = _NOTHING
    instructions: msgspec.Raw = _NOTHING
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    max_output_tokens: int | None = None


_read: Final = msgspec.json.Decoder(_Body).decode
_write: Final = msgspec.json.Encoder(order="sorted").encode


def arrival_of(ask: Ask, pools: Pools, principal: str, *, with_prompt: bool) -> Arrival:
    """The request as the policy sees it. Without `with_prompt` its text is not hashed.

    A body that holds something else than is expected here is the node's to refuse: the request
    then counts as one of which nothing is known.
    """
    entry = pools.models.get(ask.canonical)
    is_embedding = ask.route.path in EMBEDDING_PATHS  # whose one token is the whole answer
    plain = Arrival(
        canonical=ask.canonical,
        digest=entry.model.digest if entry is not None else "",
        is_embedding=is_embedding,
        is_streamed=ask.streaming or is_embedding,
        principal=principal,
    )
    if not isinstance(ask.body, bytes) or len(ask.body) > MAX_READ_BYTES or ask.content_type:
        return plain
    try:
        body = _read(ask.body)
    except (msgspec.DecodeError, RecursionError):
        return plain
    options_key = _options_key(body)
    texts = _texts(body)
    seed = f"{plain.digest} {options_key}".encode()
    return msgspec.structs.replace(
        plain,
        options_key=options_key,
        prompt_tokens=sum(map(len, texts)) // BYTES_PER_TOKEN,
        blocks=block_hashes(seed, texts) if with_prompt and not plain.is_embedding else (),
        max_output=_max_output(body),
    )


def _options_key(body: _Body) -> str:
    given = {name: raw for name, raw in (body.options or {}).items() if name in LOAD_OPTIONS}
    return _write(given).decode() if given else ""


def _texts(body: _Body) -> list[bytes]:
    """The prompt in the order in which templates put it: tools and system first."""
    parts = [body.tools, body.system, body.instructions]
    texts = [bytes(raw) for raw in (*parts, body.prompt, body.input) if memoryview(raw)]
    texts += _marks(body.images)
    for message in body.messages or ():
        texts += (message.role.encode(), bytes(message.content), bytes(message.tool_calls))
        texts += _marks(message.images)
    return texts


def _marks(images: msgspec.Raw) -> list[bytes]:
    """What stands for images: they are long, and are no text."""
    view = memoryview(images)
    return [blake2b(view, digest_size=16).digest()] if view else []


def _max_output(body: _Body) -> int | None:
    raw = (body.options or {}).get("num_predict")
    limits = [body.max_tokens, body.max_completion_tokens, body.max_output_tokens]
    if raw is not None:
        try:
            limits.append(msgspec.json.decode(raw, type=int))
        except msgspec.DecodeError:
            return None
    return min((limit for limit in limits if limit is not None and limit > 0), default=None)
