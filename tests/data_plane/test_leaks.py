"""Ten thousand requests, whole, broken and abandoned at every point: nothing stays behind."""

import asyncio
import collections
import contextlib
import gc
import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.ollama import FakeOllama

from data_plane.protocol import heads
from data_plane.routing.circuit import _Circuit
from data_plane.routing.model_circuit import Pair
from data_plane.settings import HELD_BODY_BYTES

ROUNDS = 250
AT_ONCE = 40
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}
LARGE = json.dumps({**CHAT, "padding": "x" * HELD_BODY_BYTES}).encode()
FAULTS = ("reset", "bad_chunk", "close", "busy", "extra_bytes", "garbage", "runner_died")


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def our_objects() -> collections.Counter[str]:
    """Instances of the data plane's classes, by class, but for what is remembered on purpose.

    That is the heads of nodes, and a circuit for each node that has failed, and for each model with
    which it has: whether both have one by the end of the first round is chance.
    """
    heads.parse_head.cache_clear()
    gc.collect()
    return collections.Counter(
        type(each).__qualname__
        for each in gc.get_objects()
        if str(type(each).__module__).startswith("data_plane.")
        and type(each) not in {_Circuit, Pair}
    )


async def abandoned(plane, dial, dice: random.Random) -> None:
    """A client that leaves at some moment, politely or not: while it asks, or while it is told."""
    wire = await dial(plane)
    kind = dice.random()
    if kind < 0.02:
        wire.send(
            b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(LARGE)
            + LARGE[: dice.randrange(len(LARGE) + 1)]
        )
    elif kind < 0.2:
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{")
    else:
        wire.post("/api/chat", {**CHAT, "stream": dice.random() < 0.7})
    if dice.random() < 0.1:
        wire.pause()
    await asyncio.sleep(dice.random() * 0.01)
    wire.leave(abruptly=dice.random() < 0.5)


async def a_round(plane, dial, dice: random.Random, nodes: tuple[FakeOllama, ...]) -> None:
    for node in nodes:
        node.clear_faults()
        for kind in dice.sample(FAULTS, 5):
            node.fault(kind, path="/api/chat", times=1, after=dice.randrange(3))
    await asyncio.gather(
        *(plane.chat(stream=turn % 2 == 0) for turn in range(AT_ONCE // 2)),
        *(abandoned(plane, dial, dice) for _ in range(AT_ONCE // 2)),
        return_exceptions=True,
    )


async def test_nothing_stays_behind(plane, dial) -> None:
    dice = random.Random(7)  # noqa: S311 - the same moments in every run
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        await plane.chat()
        tasks = len(asyncio.all_tasks())
        before = descriptors()
        await a_round(plane, dial, dice, (first, second))
        await plane.idle()
        objects = our_objects()
        for _ in range(ROUNDS - 1):
            await a_round(plane, dial, dice, (first, second))
        await plane.idle()
        assert plane.app.gate.requests_total > ROUNDS * AT_ONCE * 0.95, "some left unnoticed"
        assert not plane.app.leases.counts
        await plane.session.close()
        plane.app.forwarder.forget(frozenset())
        async with asyncio.timeout(10.0):
            while (
                descriptors() > before + 2
                or len(asyncio.all_tasks()) > tasks + 2
                or (our_objects() - objects).total()
            ):
                await asyncio.sleep(0.05)


@contextlib.contextmanager
def left_to_the_collector() -> Iterator[collections.Counter[str]]:
    """Instances of the data plane's classes that nobody can reach and that know each other."""
    found: collections.Counter[str] = collections.Counter()
    gc.collect()
    gc.disable()
    try:
        yield found
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        found.update(
            type(each).__qualname__
            for each in gc.garbage
            if str(type(each).__module__).startswith("data_plane.")
        )
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def ask_and_leave(plane, dial, body: object, end: bytes) -> None:
    wire = await dial(plane)
    wire.post("/api/chat", body)
    await wire.until(end)
    wire.leave(abruptly=False)


@pytest.mark.parametrize(
    ("body", "end"),
    [
        pytest.param({**CHAT, "stream": False}, b'"done":true', id="whole"),
        pytest.param(CHAT, b"0\r\n\r\n", id="stream"),
        pytest.param(CHAT, b'"content"', id="abandoned"),
        pytest.param({**CHAT, "model": "nobody has it"}, b'"error"', id="refused"),
    ],
)
async def test_a_connection_is_freed_when_it_ends(plane, dial, body, end) -> None:
    """And not when the collector runs, which looks at every object to find it."""
    async with FakeOllama() as node:
        await plane.apply(node)
        await ask_and_leave(plane, dial, body, end)
        with left_to_the_collector() as found:
            for _ in range(10):
                await ask_and_leave(plane, dial, body, end)
            await plane.idle()
            while plane.app.gate.connections:
                await asyncio.sleep(0.01)
        assert not found


async def test_a_request_is_freed_when_it_ends(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)

        async def ask(*, stream: bool) -> None:
            wire.received = b""
            wire.post("/api/chat", {**CHAT, "stream": stream})
            await wire.until(b"0\r\n\r\n" if stream else b'"done":true')

        await ask(stream=True)
        with left_to_the_collector() as found:
            for turn in range(20):
                await ask(stream=turn % 2 == 0)
        assert not found
