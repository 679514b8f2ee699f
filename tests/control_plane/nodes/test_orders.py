"""Orders against a node that behaves as Ollama does, and against one that does not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from fakes.ollama import FakeOllama

from control_plane.nodes import orders
from control_plane.nodes.client import Target
from control_plane.nodes.orders import SENTENCES, Fault, Kind, NodeOrders, Order, OrderError
from control_plane.nodes.pulling import Progress, Step
from shared.addresses import AddressPolicy
from shared.events import ProbeOutcome

POLICY = AddressPolicy.parse(("127.0.0.0/8", "::1/128"), frozenset())


async def tell(
    node: FakeOllama | str, kind: Kind, model: str, progress: Progress | None = None, **more: Any
) -> None:
    url = node if isinstance(node, str) else node.url
    token = more.pop("token", "")
    async with NodeOrders(more.pop("policy", POLICY)) as orders:
        order = Order(kind, model, **more)
        await orders.carry_out(Target(None, url, token), order, progress or Progress())


async def code_of(node: FakeOllama | str, kind: Kind, model: str, **more: Any) -> str:
    with pytest.raises(OrderError) as caught:
        await tell(node, kind, model, **more)
    assert caught.value.code in SENTENCES
    return caught.value.code


def sent(node: FakeOllama, path: str) -> list[dict[str, Any]]:
    return [json.loads(request.body) for request in node.requests if request.path == path]


async def test_a_pull_brings_the_model_and_tells_how_far_it_is() -> None:
    progress = Progress()
    async with FakeOllama(["llama3.2"], prefix="/ollama", token="abc") as node:
        await tell(node, Kind.PULL, "qwen3:8b", progress, token="abc")
        assert node.node.library.find("qwen3:8b") is not None
    assert progress.step is Step.DONE
    assert progress.completed_bytes == progress.total_bytes > 5_000_000_000


async def test_a_model_that_no_registry_has_is_an_error_inside_a_200() -> None:
    async with FakeOllama() as node:
        assert await code_of(node, Kind.PULL, "nonesuch") == Fault.MODEL_UNKNOWN


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("write /root/.ollama/x: no space left on device", Fault.NO_SPACE),
        ('Get "https://registry": dial tcp: lookup x: no such host', Fault.REGISTRY_UNREACHABLE),
        ("max retries exceeded: unexpected EOF", Fault.REGISTRY_UNREACHABLE),
        ("pull model manifest: 412: requires a newer version of Ollama", Fault.NODE_TOO_OLD),
        ("unauthorized", Fault.REGISTRY_DENIED),
        ("something else", Fault.NODE_ERROR),
    ],
)
async def test_what_a_node_says_midway_becomes_a_code(text: str, code: Fault) -> None:
    async with FakeOllama() as node:
        node.fault("error_record", path="/api/pull", after=2, text=text)
        assert await code_of(node, Kind.PULL, "qwen3:8b") == code


@pytest.mark.parametrize("kind", ["reset", "close", "cut_short", "no_done", "bad_chunk"])
async def test_a_pull_that_breaks_off_is_never_a_success(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "LOOK_S", 0.1)
    async with FakeOllama() as node:
        node.fault(kind, path="/api/pull", after=2)
        code = await code_of(node, Kind.PULL, "qwen3:8b")
        assert code in {Fault.BROKEN_OFF, ProbeOutcome.NOT_OLLAMA, ProbeOutcome.UNREACHABLE}


async def test_a_cancelled_pull_closes_the_stream() -> None:
    async with FakeOllama() as node:
        node.fault("stall", path="/api/pull", after=3)
        progress = Progress()
        task = asyncio.create_task(tell(node, Kind.PULL, "qwen3:8b", progress))
        async with asyncio.timeout(5):
            while progress.step is not Step.DOWNLOADING:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            while not node.node.abandoned["/api/pull"]:
                await asyncio.sleep(0.005)
        assert node.node.library.find("qwen3:8b") is None


async def test_a_delete_is_done_when_the_model_is_gone_whoever_took_it() -> None:
    async with FakeOllama(["llama3.2"]) as node:
        await tell(node, Kind.DELETE, "llama3.2")
        assert node.node.library.find("llama3.2") is None
        await tell(node, Kind.DELETE, "llama3.2")


async def test_a_copy_is_a_second_name() -> None:
    async with FakeOllama(["llama3.2"]) as node:
        await tell(node, Kind.COPY, "llama3.2", destination="me/mine:v1")
        assert node.node.library.find("me/mine:v1") is not None
        code = await code_of(node, Kind.COPY, "nonesuch", destination="x")
        assert code == Fault.MODEL_ABSENT


async def test_a_model_is_loaded_and_unloaded() -> None:
    async with FakeOllama(["llama3.2"]) as node:
        await tell(node, Kind.LOAD, "llama3.2", keep_alive="1h")
        assert [entry["name"] for entry in node.node.scheduler.listed()] == ["llama3.2:latest"]
        assert sent(node, "/api/generate")[-1]["keep_alive"] == "1h"
        await tell(node, Kind.UNLOAD, "llama3.2")
        async with asyncio.timeout(5):
            while node.node.scheduler.listed():
                await asyncio.sleep(0.005)
        assert await code_of(node, Kind.LOAD, "nonesuch") == Fault.MODEL_ABSENT


async def test_a_model_that_only_embeds_is_loaded_by_an_empty_input() -> None:
    async with FakeOllama(["nomic-embed-text"]) as node:
        await tell(node, Kind.LOAD, "nomic-embed-text", keep_alive=60.0)
        names = [entry["name"] for entry in node.node.scheduler.listed()]
        assert names == ["nomic-embed-text:latest"]
        assert sent(node, "/api/embed")[-1]["keep_alive"] == 60.0


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        ({"kind": "load_fails"}, Fault.NO_MEMORY),
        ({"kind": "busy"}, Fault.NODE_BUSY),
        ({"kind": "redirect", "text": "http://127.0.0.1:1/"}, ProbeOutcome.NOT_OLLAMA),
        ({"kind": "garbage"}, ProbeOutcome.NOT_OLLAMA),
        ({"kind": "status", "status": 500, "text": "it is what it is"}, Fault.NODE_ERROR),
    ],
)
async def test_a_load_that_fails_says_why(fault: dict[str, Any], code: str) -> None:
    async with FakeOllama(["llama3.2"]) as node:
        node.fault(path="/api/generate", **fault)
        assert await code_of(node, Kind.LOAD, "llama3.2") == code


async def test_a_node_that_cannot_be_asked_is_told_as_a_probe_tells_it() -> None:
    async with FakeOllama(token="abc") as node:
        assert await code_of(node, Kind.DELETE, "llama3.2") == ProbeOutcome.UNAUTHORIZED
        elsewhere = AddressPolicy.parse(("10.0.0.0/8",), frozenset())
        code = await code_of(node, Kind.DELETE, "llama3.2", policy=elsewhere)
        assert code == ProbeOutcome.ADDRESS_NOT_ALLOWED
        url = node.url
    assert await code_of(url, Kind.DELETE, "llama3.2") == ProbeOutcome.REFUSED


async def test_the_nodes_own_words_are_for_the_log_only_and_cut_short() -> None:
    async with FakeOllama() as node:
        node.fault("error_record", path="/api/pull", after=1, text="oh\n\x1b[31m no" * 100)
        with pytest.raises(OrderError) as caught:
            await tell(node, Kind.PULL, "qwen3:8b")
    assert str(caught.value) == Fault.NODE_ERROR
    assert len(caught.value.said) == 300
    assert caught.value.said.isprintable()
