"""Batches of texts, cut into shards and put together again."""

import json
from typing import Any

import msgspec
import pytest

from data_plane.protocol.shards import (
    MAX_SHARDS,
    MIN_BATCH_BYTES,
    MIN_INPUTS,
    BadShardError,
    is_batch,
    joined,
    opened,
    split,
)


def body(texts: Any, **more: Any) -> bytes:
    return json.dumps({"model": "m", "input": texts, **more}).encode()


def texts(count: int) -> list[str]:
    return [f"text {number}" for number in range(count)]


@pytest.mark.parametrize(
    ("count", "nodes", "sizes"),
    [
        (2 * MIN_INPUTS - 1, 9, []),
        (2 * MIN_INPUTS, 9, [MIN_INPUTS] * 2),
        (100, 1, []),
        (100, 0, []),
        (100, 2, [50, 50]),
        (101, 3, [33, 34, 34]),
        (100_000, 1_000, [100_000 // MAX_SHARDS] * MAX_SHARDS),
    ],
)
def test_shards_are_as_many_as_are_worth_it_and_as_equal_as_can_be(count, nodes, sizes) -> None:
    shards = split(body(texts(count)), nodes)
    assert [size for _, size in shards] == sizes


def test_no_text_is_lost_or_moved_and_all_else_is_said_to_every_node() -> None:
    more = {"truncate": False, "options": {"num_ctx": 8192}, "keep_alive": "1h"}
    shards = [json.loads(shard) for shard, _ in split(body(texts(97), **more), 3)]
    assert [text for shard in shards for text in shard["input"]] == texts(97)
    assert all({**shard, "input": 0} == {"model": "m", "input": 0, **more} for shard in shards)


@pytest.mark.parametrize("odd", [7, None, ["a"], {"a": 1}])
def test_what_is_no_list_of_texts_is_left_to_one_node(odd) -> None:
    assert split(body([*texts(99), odd]), 4) == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, False),
        (b"null", False),
        (b'"' + b"x" * MIN_BATCH_BYTES + b'"', False),
        (b'["a"]', False),
        (json.dumps(texts(MIN_BATCH_BYTES)).encode(), True),
    ],
)
def test_what_may_be_a_batch(raw, expected) -> None:
    assert is_batch(None if raw is None else msgspec.Raw(raw)) is expected


def test_the_shortest_texts_of_two_shards_are_a_batch() -> None:
    raw = json.dumps([""] * 2 * MIN_INPUTS, separators=(",", ":")).encode()
    assert is_batch(msgspec.Raw(raw)) is (len(raw) >= MIN_BATCH_BYTES)


def native(vectors: list[Any], **more: int) -> bytes:
    return json.dumps({"model": "M", "embeddings": vectors, **more}).encode()


def test_native_answers_in_order_with_sums_and_the_longest_time() -> None:
    first = native([[0.5], [1e-9]], total_duration=9, load_duration=2, prompt_eval_count=4)
    second = native([[-3]], total_duration=5, load_duration=7, prompt_eval_count=1)
    whole, tokens = joined([opened("/api/embed", first, 2), opened("/api/embed", second, 1)])
    assert tokens == 5
    assert json.loads(whole) == {
        "model": "M",
        "embeddings": [[0.5], [1e-9], [-3]],
        "total_duration": 9,
        "load_duration": 7,
        "prompt_eval_count": 5,
    }


def test_a_number_keeps_its_spelling() -> None:
    whole, _ = joined([opened("/api/embed", b'{"model":"M","embeddings":[[1.50e-0]]}', 1)])
    assert whole == b'{"model":"M","embeddings":[[1.50e-0]]}'


def openai(vectors: dict[int, Any], tokens: int) -> bytes:
    data = [{"object": "embedding", "embedding": v, "index": n} for n, v in vectors.items()]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return json.dumps({"object": "list", "data": data, "model": "M", "usage": usage}).encode()


def test_openai_answers_are_numbered_through() -> None:
    path = "/v1/embeddings"
    first, second = openai({1: "AAAB", 0: "AAAA"}, 2), openai({0: "AAAC"}, 3)
    whole, tokens = joined([opened(path, first, 2), opened(path, second, 1)])
    assert tokens == 5
    assert json.loads(whole) == json.loads(openai({0: "AAAA", 1: "AAAB", 2: "AAAC"}, 5))


@pytest.mark.parametrize(
    ("path", "answer"),
    [
        ("/api/embed", native([[1]])),
        ("/api/embed", b'{"model":"M"}'),
        ("/api/embed", b'{"embeddings":[[1],'),
        ("/v1/embeddings", openai({}, 1)),
        ("/v1/embeddings", b"[]"),
    ],
)
def test_an_answer_that_is_not_what_was_asked_for(path, answer) -> None:
    with pytest.raises(BadShardError):
        opened(path, answer, 2)
