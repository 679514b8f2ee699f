"""Thousands of requests, whole, broken and abandoned: nothing stays behind."""

import asyncio
import gc
import random
from pathlib import Path

from fakes.ollama import FakeOllama

ROUNDS = 60
AT_ONCE = 40
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def abandoned(plane, dial, dice: random.Random) -> None:
    """A client that leaves at some moment, politely or not."""
    wire = await dial(plane)
    wire.post("/api/chat", {**CHAT, "stream": dice.random() < 0.7})
    await asyncio.sleep(dice.random() * 0.01)
    wire.leave(abruptly=dice.random() < 0.5)


async def test_nothing_stays_behind(plane, dial) -> None:
    dice = random.Random(7)  # noqa: S311 - the same moments in every run
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        await plane.chat()
        tasks = len(asyncio.all_tasks())
        before = descriptors()
        for turn in range(ROUNDS):
            for node in (first, second):
                node.clear_faults()
                for kind in ("reset", "bad_chunk", "close", "busy", "extra_bytes"):
                    node.fault(kind, path="/api/chat", times=1, after=dice.randrange(3))
            await asyncio.gather(
                *(plane.chat(stream=turn % 2 == 0) for _ in range(AT_ONCE // 2)),
                *(abandoned(plane, dial, dice) for _ in range(AT_ONCE // 2)),
                return_exceptions=True,
            )
        await plane.idle()
        assert plane.app.gate.requests_total > ROUNDS * AT_ONCE // 2
        assert not plane.app.leases.counts
        await plane.session.close()
        plane.app.forwarder.forget(frozenset())
        gc.collect()
        async with asyncio.timeout(10.0):
            while descriptors() > before + 2 or len(asyncio.all_tasks()) > tasks + 2:
                await asyncio.sleep(0.05)
