"""Before the first byte: which failures of a node the client never sees, and which it does."""

import asyncio
import contextlib
import json
import socket
import time

import msgspec
import pytest
from fakes.ollama import FakeOllama

from shared import wire
from shared.snapshot import Node, ProxyConfig, Verdict
from tests.data_plane.conftest import QUICK

CANONICAL = "registry.ollama.ai/library/llama3.2:latest"


def sick(node: FakeOllama, kind: str, **more) -> None:
    node.fault(kind, path="/api/chat", **more)


async def chat_through_one_sick_node(plane, kind: str, *, stream: bool = True, **fault):
    """Two nodes; whichever is asked first is sick, the other is not."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        # The sick one is the only one that looks idle.
        with plane.app.leases.take("n2", 0.0):
            sick(first, kind, **fault)
            answer = await plane.chat(stream=stream)
        await plane.idle()
        return answer, answer.text(), len(first.inference), len(second.inference)


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("kind", ["reset", "close", "garbage", "busy", "runner_died", "missing"])
async def test_a_node_that_fails_before_its_first_byte_is_not_noticed(plane, kind, stream) -> None:
    """F03, F09, F12, F13, F14, F17."""
    answer, text, first, second = await chat_through_one_sick_node(plane, kind, stream=stream)
    assert answer.status == 200
    assert json.loads(text.splitlines()[-1])["done"] is True
    assert answer.headers["X-Aivonx-Attempts"] == "2"
    assert answer.headers["X-Aivonx-Node"] == "node-2"
    assert (first, second) == (1, 1)
    line = await plane.line()
    assert (line["outcome"], line["attempts"], line["node"]) == ("ok", 2, "node-2")


@pytest.mark.parametrize("kind", ["reset", "close", "bad_chunk", "cut_short"])
async def test_a_whole_answer_that_breaks_in_its_middle_is_asked_for_again(plane, kind) -> None:
    """F05, F18, F19, F20: nothing of it has been sent."""
    answer, text, *counts = await chat_through_one_sick_node(plane, kind, stream=False, after=1)
    assert answer.status == 200
    assert json.loads(text)["done"] is True
    assert counts == [1, 1]


@pytest.mark.parametrize("kind", ["redirect", "gzip"])
async def test_what_nobody_asked_for_is_a_protocol_error(plane, kind) -> None:
    """S07. F16, F24."""
    answer, text, first, second = await chat_through_one_sick_node(plane, kind)
    assert answer.status == 502
    assert json.loads(text)["code"] == "upstream_protocol_error"
    assert (first, second) == (1, 0)


@pytest.mark.parametrize("status", [400, 403, 413, 422])
async def test_a_client_error_of_the_node_is_relayed(plane, status) -> None:
    """F15."""
    answer, text, first, second = await chat_through_one_sick_node(
        plane, "status", status=status, text="the node's own words"
    )
    assert answer.status == status
    assert "the node's own words" in text
    assert (first, second) == (1, 0)
    assert not plane.app.circuits.down


async def test_a_rate_limited_node_is_passed_over_for_a_moment(plane) -> None:
    """F15: 429 is relayed, and the next request goes elsewhere."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        sick(first, "status", status=429)
        with plane.app.leases.take("n2", 0.0):
            assert (await plane.chat()).status == 429
            assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-2"


async def test_a_second_500_is_the_requests_own_fault_and_relayed(plane) -> None:
    """F13: never a third node."""
    async with FakeOllama() as first, FakeOllama() as second, FakeOllama() as third:
        nodes = (first, second, third)
        await plane.apply(*nodes)
        for node in nodes:
            sick(node, "runner_died")
        answer = await plane.chat()
        assert answer.status == 500
        assert "runner" in answer.json()["error"]
        assert sum(len(node.inference) for node in nodes) == 2
        assert not plane.app.circuits.down
        assert (await plane.line())["outcome"] == "node_error"


async def test_a_500_of_the_only_node_is_relayed(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        sick(node, "load_fails")
        answer = await plane.chat()
        assert answer.status == 500
        assert "memory" in answer.json()["error"]


async def test_when_every_node_is_busy_the_client_is_told_when_to_return(plane) -> None:
    """F12."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        sick(first, "busy")
        sick(second, "busy")
        answer = await plane.chat()
        assert answer.status == 503
        body = answer.json()
        assert body["code"] == "overloaded"
        assert "2 nodes tried" in body["error"]
        assert (await plane.line())["outcome"] == "shed"
        waits = {(await plane.chat()).headers["Retry-After"] for _ in range(30)}
        assert waits <= {"1", "2", "3", "4", "5"}
        assert len(waits) > 1, "who was refused together should not return together"
        assert not plane.app.circuits.down


async def test_a_dead_node_costs_nothing_and_goes_to_standby(plane) -> None:
    """F01."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        await first.refuse()
        with plane.app.leases.take("n2", 0.0):
            began_at = time.monotonic()
            answer = await plane.chat()
            assert time.monotonic() - began_at < QUICK.connect_timeout_s
        assert answer.headers["X-Aivonx-Attempts"] == "2"
        assert plane.app.circuits.reasons == {"n1": "refused"}
        assert (await plane.chat()).headers["X-Aivonx-Attempts"] == "1"
        report = plane.app.account.report()
        assert report.nodes["n1"].standby == "refused"


async def test_a_node_that_swallows_connections_costs_the_connect_limit(plane) -> None:
    """F02, with an address where nothing answers a SYN: a listener whose queue is full."""
    with full_listener() as port:
        async with FakeOllama() as good:
            await plane.apply(good)
            (known,) = plane.app.state.current.snapshot.nodes
            hole = msgspec.structs.replace(known, id="hole", address=f"http://127.0.0.1:{port}")
            await apply_with_models(plane, known, hole)
            with plane.app.leases.take("n1", 0.0):
                began_at = time.monotonic()
                answer = await plane.chat()
                took_s = time.monotonic() - began_at
            assert answer.status == 200
            assert answer.headers["X-Aivonx-Attempts"] == "2"
            assert 0.25 <= took_s < 3.0
            assert plane.app.circuits.down == {"hole"}


async def test_with_every_node_down_the_client_knows_at_once(plane) -> None:
    """F29."""
    async with FakeOllama() as node:
        await plane.apply(node)
        await node.refuse()
        for _ in range(2):
            began_at = time.monotonic()
            answer = await plane.chat()
            assert time.monotonic() - began_at < QUICK.connect_timeout_s
            assert answer.status == 503
            assert answer.json()["code"] == "no_healthy_node"
            assert "Retry-After" in answer.headers
        await node.accept()
        await recovered(plane)
        assert (await plane.chat()).status == 200


async def settled(plane) -> None:
    async with asyncio.timeout(5.0):
        while plane.app.findings._looking or not plane.app.findings._looked_at:
            await asyncio.sleep(0.005)


async def recovered(plane) -> None:
    async with asyncio.timeout(5.0):
        while plane.app.circuits.down:
            await asyncio.sleep(0.01)


async def test_a_model_that_a_node_has_lost_is_not_asked_for_there_again(plane) -> None:
    """F14."""
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        sick(first, "missing")
        with plane.app.leases.take("n2", 0.0):
            await plane.chat()
            assert (await plane.chat()).headers["X-Aivonx-Attempts"] == "1"
        assert plane.app.account.report().refresh_wanted == ("n1",)
        assert not plane.app.circuits.down
        assert plane.app.findings.without(CANONICAL) == {"n1"}
        await plane.apply(first, second)
        assert plane.app.findings.without(CANONICAL) == {"n1"}, "the snapshot knows no better yet"
        await apply_with_models(plane, plane.app.state.current.snapshot.nodes[1])
        assert not plane.app.findings.without(CANONICAL)


async def test_a_model_that_every_node_has_lost_is_not_found(plane) -> None:
    """F14."""
    async with FakeOllama() as node:
        await plane.apply(node)
        sick(node, "missing")
        for _ in range(2):
            answer = await plane.chat()
            assert answer.status == 404
            assert answer.json()["error"] == "model 'llama3.2' not found"
            assert answer.json()["code"] == "model_not_found"
        assert not plane.app.circuits.down


async def test_an_unknown_model_is_not_found_in_the_words_of_the_dialect(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        native = await plane.chat(model="nope")
        assert native.status == 404
        assert native.json()["error"] == "model 'nope' not found"
        openai = await plane.post("/v1/chat/completions", {"model": "nope", "messages": []})
        assert openai.status == 404
        assert openai.json()["error"]["type"] == "not_found_error"
        anthropic = await plane.post("/v1/messages", {"model": "nope", "messages": []})
        assert anthropic.status == 404
        assert anthropic.json()["error"]["type"] == "not_found_error"
        assert not node.inference


async def test_a_stale_pooled_connection_is_replaced_unnoticed(plane) -> None:
    """F11: the node closed it just when we wrote to it. Not counted, not even as an attempt."""
    async with FakeOllama() as node:
        await plane.apply(node)
        assert (await plane.chat()).status == 200
        await settled(plane)  # the look at /api/ps has given the connection back
        node.fault("reset", path="/api/chat", times=1)
        answer = await plane.chat()
        assert answer.status == 200
        assert answer.headers["X-Aivonx-Attempts"] == "1"
        assert not plane.app.circuits.down


async def test_no_more_than_the_allowed_number_of_nodes_is_tried(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second, FakeOllama() as third:
        nodes = (first, second, third)
        await plane.apply(*nodes, config=ProxyConfig(max_attempts=2))
        for node in nodes:
            sick(node, "busy")
        assert (await plane.chat()).status == 503
        assert sum(len(node.inference) for node in nodes) == 2


async def test_retries_beyond_the_budget_are_not_made(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        sick(first, "busy")
        plane.app.gate.retrying = 3
        try:
            with plane.app.leases.take("n2", 0.0):
                answer = await plane.chat()
        finally:
            plane.app.gate.retrying = 0
        assert answer.status == 503
        assert not second.inference


async def test_a_forbidden_address_gets_no_packet(make_plane) -> None:
    """F27."""
    plane = await make_plane(AIVONX_NODE_ALLOWED_CIDRS="10.0.0.0/8")
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.chat()
        assert answer.status == 503
        assert plane.app.circuits.reasons == {"n1": "address_not_allowed"}
        assert plane.lines("node_address_not_allowed")
        assert not node.requests


async def test_verdicts_that_are_too_old_do_not_cause_an_outage(plane) -> None:
    """F58. F30."""
    async with FakeOllama() as node:
        await plane.apply(node)
        (known,) = plane.app.state.current.snapshot.nodes
        await apply_with_models(plane, msgspec.structs.replace(known, verdict=Verdict.UNHEALTHY))
        plane.app.selection.verdicts_are_stale = False
        assert (await plane.chat()).status == 503
        plane.app.selection.verdicts_are_stale = True
        answer = await plane.chat()
        assert answer.status == 200
        assert plane.lines()[-1]["reason"] == "panic"


async def apply_with_models(plane, *nodes: Node) -> None:
    """Keep the model table of the snapshot in force, replace its nodes."""
    current = plane.app.state.current.snapshot
    changed = msgspec.structs.replace(current, nodes=nodes, revision=current.revision + 1)
    plane._revision += 1
    assert await plane.app.state.offer(wire.seal(changed, plane.app.settings.snapshot_key), "test")


@contextlib.contextmanager
def full_listener():
    """A port that accepts no more connections: its queue is full, further SYNs are dropped."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]
