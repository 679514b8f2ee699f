"""Many texts to embed, in shards for several nodes, and their answers put together again.

Vectors are passed on as they were written: none of their numbers is read.
"""

from __future__ import annotations

from typing import Final

import msgspec

MIN_INPUTS: Final = 32
"""Texts per shard. A request of fewer costs a node more than its texts do."""

MAX_SHARDS: Final = 16

MIN_BATCH_BYTES: Final = 256
"""Of a list that is worth counting: two shards of the least, all texts empty, are longer."""

_LIST_OPENS: Final = ord("[")
_STRING_OPENS: Final = ord('"')
_decode_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_list: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class BadShardError(Exception):
    """A node's answer is not what was asked of it."""


def is_batch(raw: msgspec.Raw | None) -> bool:
    """Whether an `input` may hold so many texts that it is worth counting them."""
    if raw is None:
        return False
    view = memoryview(raw)
    return len(view) >= MIN_BATCH_BYTES and view[0] == _LIST_OPENS


def split(body: bytes, most: int) -> list[tuple[bytes, int]]:
    """The body in at most so many shards, each with its count of texts; [] when it is to stay one.

    What is no list of texts stays one as well: a node has the words for it.
    """
    members = _decode_members(body)
    texts = _decode_list(members["input"])
    count = min(most, MAX_SHARDS, len(texts) // MIN_INPUTS)
    if count < 2 or any(memoryview(text)[0] != _STRING_OPENS for text in texts):  # noqa: PLR2004 - two are some
        return []
    shards = []
    for number in range(count):
        part = texts[len(texts) * number // count : len(texts) * (number + 1) // count]
        shards.append((_encode({**members, "input": part}), len(part)))
    return shards


class _Native(msgspec.Struct, omit_defaults=True):
    """An answer of /api/embed."""

    model: msgspec.Raw
    embeddings: list[msgspec.Raw]
    total_duration: int = 0
    load_duration: int = 0
    prompt_eval_count: int = 0


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    total_tokens: int = 0


class _Vector(msgspec.Struct):
    embedding: msgspec.Raw
    index: int
    object: str = "embedding"


class _OpenAI(msgspec.Struct):
    """An answer of /v1/embeddings."""

    data: list[_Vector]
    model: msgspec.Raw
    usage: _Usage
    object: str = "list"


Shard = _Native | _OpenAI
"""A node's answer, opened."""

_decode_native: Final = msgspec.json.Decoder(_Native).decode
_decode_openai: Final = msgspec.json.Decoder(_OpenAI).decode


def opened(path: str, body: bytes, count: int) -> Shard:
    """The answer to a shard of so many texts on this route. Raises BadShardError."""
    try:
        shard = _decode_native(body) if path.startswith("/api/") else _decode_openai(body)
    except msgspec.DecodeError as error:
        raise BadShardError(str(error)) from error
    found = len(shard.embeddings if isinstance(shard, _Native) else shard.data)
    if found != count:
        msg = f"{found} vectors for {count} texts"
        raise BadShardError(msg)
    return shard


def joined(shards: list[Shard]) -> tuple[bytes, int]:
    """One answer of the shards' answers, all of one route, and the tokens read for it."""
    native = [shard for shard in shards if isinstance(shard, _Native)]
    if native:
        whole = _joined_native(native)
        return _encode(whole), whole.prompt_eval_count
    answer = _joined_openai([shard for shard in shards if isinstance(shard, _OpenAI)])
    return _encode(answer), answer.usage.prompt_tokens


def _joined_native(shards: list[_Native]) -> _Native:
    return _Native(
        model=shards[0].model,
        embeddings=[vector for shard in shards for vector in shard.embeddings],
        # They ran beside each other.
        total_duration=max(shard.total_duration for shard in shards),
        load_duration=max(shard.load_duration for shard in shards),
        prompt_eval_count=sum(shard.prompt_eval_count for shard in shards),
    )


def _joined_openai(shards: list[_OpenAI]) -> _OpenAI:
    vectors: list[_Vector] = []
    for shard in shards:
        for vector in sorted(shard.data, key=lambda each: each.index):
            vector.index = len(vectors)
            vectors.append(vector)
    usage = _Usage(
        sum(shard.usage.prompt_tokens for shard in shards),
        sum(shard.usage.total_tokens for shard in shards),
    )
    return _OpenAI(vectors, shards[0].model, usage)
