"""The policy within the data plane: what it hears, what the client is told."""

import json
import time

from fakes.ollama import FakeOllama
from fakes.snapshots import make_snapshot

from data_plane.protocol.ask import parse
from data_plane.protocol.matching import lookup
from data_plane.proxy.arrivals import arrival_of
from data_plane.proxy.predictions import explained
from data_plane.routing.choose import Choice
from data_plane.routing.events import Reason, Terms
from data_plane.routing.pools import Pools
from shared.snapshot import ProxyConfig, Strategy

PREDICTED = ProxyConfig(strategy=Strategy.PREDICTED, explain=True)
POOLS = Pools.build(make_snapshot({"alpha": ["llama3"]}))


def arrived(path="/api/chat", *, with_prompt=True, **fields):
    body = json.dumps({"model": "llama3", **fields}, separators=(",", ":")).encode()
    ask = parse(lookup("POST", path).route, body, max_body_bytes=10**8)
    return arrival_of(ask, POOLS, "key-1", with_prompt=with_prompt)


def test_options_that_load_anew_are_told_from_others() -> None:
    options = {"temperature": 1, "num_ctx": 8192, "num_predict": 50}
    found = arrived(messages=[{"role": "user", "content": "Why?"}], options=options)
    assert (found.options_key, found.max_output) == ('{"num_ctx":8192}', 50)
    assert arrived(messages=[{"role": "user", "content": "Why?"}]).options_key == ""


def test_a_conversation_that_goes_on_begins_alike() -> None:
    first = [{"role": "user", "content": "word " * 500}]
    longer = [*first, {"role": "assistant", "content": "no"}, {"role": "user", "content": "oh"}]
    one, other = arrived(messages=first), arrived(messages=longer)
    assert one.blocks
    assert other.blocks[: len(one.blocks)] == one.blocks
    assert other.prompt_tokens > one.prompt_tokens > 600


def test_other_load_options_have_no_cache_in_common() -> None:
    messages = [{"role": "user", "content": "word " * 500}]
    other = arrived(messages=messages, options={"num_ctx": 8192})
    assert arrived(messages=messages).blocks[0] != other.blocks[0]


def test_images_are_no_text() -> None:
    message = {"role": "user", "content": "What is it?", "images": ["A" * 40_000]}
    assert arrived(messages=[message]).prompt_tokens < 50


def test_the_text_is_hashed_only_where_it_is_asked_for() -> None:
    found = arrived(messages=[{"role": "user", "content": "word " * 500}], with_prompt=False)
    assert found.blocks == ()
    assert found.prompt_tokens > 600


def test_what_is_not_what_it_should_be_is_a_request_of_which_nothing_is_known() -> None:
    found = arrived(messages="hello", options=3)
    assert (found.prompt_tokens, found.blocks, found.principal) == (0, (), "key-1")


def test_embeddings_write_nothing() -> None:
    assert arrived("/api/embed", input="word " * 500).is_embedding


def test_only_of_a_stream_the_first_byte_comes_before_the_last() -> None:
    assert arrived().is_streamed
    assert not arrived(stream=False).is_streamed
    assert arrived("/api/embed", input="word").is_streamed  # all of its work is before the answer


def test_the_reason_names_the_terms_and_the_second_best() -> None:
    terms = Terms(0.5, 2.0, 0.25, 0.0, wait_s=0.125, load_s=0.0)
    node = POOLS.nodes["alpha"]
    choice = Choice(node, Reason.PREDICTED, 3, terms, "beta +1.000 s (load)")
    assert explained(choice) == (
        b"predicted; candidates=3; ttft=0.500 decode=2.000 others=0.250 eviction=0.000"
        b" wait=0.125 load=0.000; second=beta +1.000 s (load)"
    )
    assert b"second" not in explained(Choice(node, Reason.PREDICTED, 3, terms, "a\r\nb"))


async def test_a_model_goes_where_it_is_in_memory(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=PREDICTED)
        where = {(await plane.chat()).headers["X-Aivonx-Node"]}
        for _ in range(5):
            where.add((await plane.chat()).headers["X-Aivonx-Node"])
        assert len(where) == 1


async def test_the_client_is_told_why_where_that_is_wished(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=PREDICTED)
        said = (await plane.chat()).headers["X-Aivonx-Reason"]
        assert said.startswith("predicted; candidates=2; ttft=")
        await plane.apply(first, second)
        assert "X-Aivonx-Reason" not in (await plane.chat()).headers


async def test_every_answer_is_a_lesson_streamed_or_not(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED)
        await plane.chat(stream=True)
        await plane.chat(stream=False)
        await plane.idle()
        assert len(plane.app.policy.errors) == 2
        learned = json.loads(plane.app.policy.learned())
        ((of_node,),) = [list(pairs.values()) for pairs in learned["pairs"].values()]
        assert of_node["first_byte_s"] > 0


async def test_a_failed_attempt_leaves_nothing_behind(plane) -> None:
    async with FakeOllama() as first:
        await plane.apply(first, config=PREDICTED)
        await plane.chat()
    assert (await plane.chat()).status in {502, 503}
    await plane.idle()
    places = plane.app.policy._shadow.places.values()
    assert [place.active for place in places] == [0]


async def test_a_strategy_of_its_own_for_one_model(plane) -> None:
    config = ProxyConfig(model_strategies={"*/llama3.2:*": Strategy.PREDICTED}, explain=True)
    async with FakeOllama() as node, FakeOllama() as other:
        await plane.apply(node, other, config=config)
        assert (await plane.chat()).headers["X-Aivonx-Reason"].startswith("predicted")


async def test_least_active_is_explained_too_and_learns_nothing(plane) -> None:
    async with FakeOllama() as node, FakeOllama() as other:
        await plane.apply(node, other, config=ProxyConfig(explain=True))
        said = (await plane.chat()).headers["X-Aivonx-Reason"]
        assert said == "least_active; candidates=2"
        assert plane.app.policy.errors == []


def errors_told(plane) -> tuple[int, float]:
    """How many predictions came due, and by which factors they were off, added up."""
    lines = plane.app.metrics.exposition().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    name = "aivonx_prediction_error_ratio"
    return int(float(values[f"{name}_count"])), float(values[f"{name}_sum"])


async def test_the_metric_says_how_far_predictions_of_the_first_byte_were_off(plane) -> None:
    """The client knows both bounds: the first byte came no later than its whole answer, and no
    sooner than the node was made to wait.
    """
    async with FakeOllama() as node:
        await plane.apply(node, config=PREDICTED)
        predicted_s, took_s = await timed(plane)
        assert predicted_s > 2.0  # taken for a load, which the node does at once
        await plane.until(lambda: errors_told(plane)[0] == 1)
        error = errors_told(plane)[1]
        assert error >= (predicted_s - 0.001) / took_s

        node.fault("delay", seconds=1.0, path="/api/chat", times=1)
        predicted_s, _ = await timed(plane)
        assert predicted_s < 1.0  # by now it is known to be in memory
        await plane.until(lambda: errors_told(plane)[0] == 2)
        assert errors_told(plane)[1] - error >= 0.99 / (predicted_s + 0.001)


async def timed(plane) -> tuple[float, float]:
    """What was predicted until the first byte of a request, and how long its whole answer took."""
    began = time.monotonic()
    answer = await plane.chat()
    terms = answer.headers["X-Aivonx-Reason"]
    return float(terms.split("ttft=")[1].split()[0]), time.monotonic() - began
