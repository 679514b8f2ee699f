"""Clients that take for ever, by the thousand, at a data plane as it is shipped."""

import asyncio
import re
import time
from pathlib import Path

import pytest
from fakes.ollama import FakeOllama

from data_plane.settings import KEEPALIVE_TIMEOUT_S
from shared.snapshot import ProxyConfig

from .conftest import snapshot_of
from .test_process import session, start

__all__ = ["session", "start"]  # fixtures of another module

CROWD = 800
HEAD = b"POST /api/chat HTTP/1.1\r\nHost: proxy\r\nX-Slow: "
MAX_KIB_EACH = 10.0
BUSY_S = 15.0
"""What a loaded machine may add to a deadline."""


def resident_kib(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1])


async def dribble(port: int) -> float:
    """Send a header a byte at a time; after how many seconds one is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_at = time.monotonic()
    writer.write(HEAD)
    try:
        async with asyncio.timeout(KEEPALIVE_TIMEOUT_S + BUSY_S):
            while not reader.at_eof():
                writer.write(b"a")
                await writer.drain()  # says of a reset what the reader's end does not
                await asyncio.sleep(1.0)
    except (ConnectionResetError, BrokenPipeError):
        pass  # that is what is waited for
    finally:
        writer.transport.abort()
    return time.monotonic() - began_at


@pytest.mark.timeout(120)
async def test_a_crowd_of_slow_clients_is_let_go_and_holds_up_nobody(start, session) -> None:
    """F36: each is closed at the limit, costs at most 10 KiB, and whoever asks is answered."""
    async with FakeOllama(["a"]) as node:
        snapshot = await snapshot_of([node], config=ProxyConfig())
        process = await start(snapshot, PYTHONDEVMODE="")  # its memory would be measured, too
        ask = {"model": "a", "messages": [], "stream": False}

        async def asked() -> float:
            began_at = time.monotonic()
            async with session.post(process.url("/api/chat"), json=ask) as answer:
                assert answer.status == 200
                await answer.read()
            return time.monotonic() - began_at

        alone = sorted([await asked() for _ in range(100)])
        before = resident_kib(process.process.pid)
        async with asyncio.TaskGroup() as group:
            crowd = [group.create_task(dribble(process.port)) for _ in range(CROWD)]
            await asyncio.sleep(KEEPALIVE_TIMEOUT_S / 2)  # all are in, and none is out
            assert not any(task.done() for task in crowd)
            beside = sorted([await asked() for _ in range(100)])
            each = (resident_kib(process.process.pid) - before) / CROWD
        closed = sorted(task.result() for task in crowd)
        print(
            f"p99 alone {alone[98] * 1e3:.1f} ms, beside {CROWD} {beside[98] * 1e3:.1f} ms;"
            f" {each:.1f} KiB each; closed after {closed[0]:.1f} to {closed[-1]:.1f} s"
        )
        assert each <= MAX_KIB_EACH
        assert beside[98] < 1.0
        assert closed[-1] < KEEPALIVE_TIMEOUT_S + BUSY_S
        assert await asked() < BUSY_S
