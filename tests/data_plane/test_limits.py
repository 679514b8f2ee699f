"""Floods, flapping and false clocks: what is limited is limited, and nobody else notices."""

import asyncio
import itertools
import resource
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
from fakes.faultproxy import FaultProxy
from fakes.ollama import FakeOllama
from fakes.scripted import END, ScriptedNode, chunk, head, until

from data_plane.proxy import server
from shared import wire
from shared.snapshot import ProxyConfig

from .conftest import SNAPSHOT_KEY, eventually, snapshot_of
from .test_process import open_stream, session, start

__all__ = ["session", "start"]  # fixtures of another module

HEAD = b"POST /api/chat HTTP/1.1\r\nHost: proxy\r\n"
SLOW_CLIENTS = 40
LAST = b'{"message":{"role":"assistant","content":"x"},"done":true}\n'


async def dribble(port: int) -> float:
    """A client that sends a header for ever, byte by byte; how long it was let."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    began_at = time.monotonic()
    writer.write(HEAD)
    try:
        async with asyncio.timeout(20.0):
            while not reader.at_eof():
                writer.write(b"a")
                await writer.drain()  # says of a reset what the reader's end does not
                await asyncio.sleep(0.02)
    except (ConnectionResetError, BrokenPipeError):
        pass  # that is what is waited for
    finally:
        writer.transport.abort()
    return time.monotonic() - began_at


async def test_headers_that_never_end_are_closed_and_hold_up_nobody(
    make_plane, monkeypatch
) -> None:
    """B36, F36."""
    monkeypatch.setattr(server, "KEEPALIVE_TIMEOUT_S", 0.5)
    plane = await make_plane()
    async with FakeOllama() as node:
        await plane.apply(node)
        async with asyncio.TaskGroup() as group:
            slow = [group.create_task(dribble(plane.port)) for _ in range(SLOW_CLIENTS)]
            began_at = time.monotonic()
            assert (await plane.chat()).status == 200
            assert time.monotonic() - began_at < 2.0
        assert max(task.result() for task in slow) < 10.0


async def test_beyond_the_limit_of_requests_the_answer_is_immediate(make_plane) -> None:
    """F38: five times as many as may be; who is in is served, and nobody waits to be refused."""
    plane = await make_plane(AIVONX_MAX_ACTIVE="20")
    refused = asyncio.Event()  # until then, who is in stays in
    async with ScriptedNode([head(), until(refused), chunk(LAST), END]) as node:
        await plane.apply(node)
        served = [asyncio.create_task(plane.chat()) for _ in range(20)]
        await eventually(lambda: plane.app.gate.in_flight == 20)
        took_s = []
        for _ in range(80):
            began_at = time.monotonic()
            answer = await plane.chat()
            took_s.append(time.monotonic() - began_at)
            assert (answer.status, answer.json()["code"]) == (503, "overloaded")
            assert 1 <= int(answer.headers["Retry-After"]) <= 5
        refused.set()
        # The median: a machine with other work makes single ones wait for their turn.
        assert sorted(took_s)[40] < 0.05, "refusing must cost nothing"
        assert [answer.status for answer in await asyncio.gather(*served)] == [200] * 20
        assert (await plane.chat()).status == 200


async def test_connections_beyond_the_limit_are_closed_and_the_others_served(
    make_plane, dial
) -> None:
    """S53."""
    plane = await make_plane(AIVONX_MAX_CONNECTIONS="5")
    within = [await dial(plane) for _ in range(5)]
    await eventually(lambda: plane.app.gate.connections == 5)
    beyond = await dial(plane)
    assert await beyond.to_the_end() == b""
    for each in within:
        each.send(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n")
        assert await each.until(b"HTTP/1.1 503 ")
        each.leave()
    await eventually(lambda: plane.app.gate.connections == 0)
    again = await dial(plane)
    again.send(b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n")
    assert await again.until(b"HTTP/1.1 503 ")
    assert plane.lines("connection_refused")


async def test_without_file_descriptors_it_goes_on_and_recovers(start, session) -> None:
    """F40."""
    async with FakeOllama(tokens_per_s=20.0) as node:
        process = await start(await snapshot_of([node], config=ProxyConfig()))
        reader, writer = await open_stream(process)
        await reader.readuntil(b'"done":false')
        pid = process.process.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (40, hard))
        crowd = [await asyncio.open_connection("127.0.0.1", process.port) for _ in range(100)]
        assert b'"done":true' in await reader.readuntil(b"\r\n0\r\n\r\n")
        for _, each in [*crowd, (reader, writer)]:
            each.transport.abort()
        await eventually_answers(process, session)
        assert process.process.returncode is None


async def eventually_answers(process, session) -> None:
    async with asyncio.timeout(10.0):
        while True:
            try:
                async with session.get(process.url("/api/version")) as answer:
                    assert answer.status == 200
                    return
            except OSError:
                await asyncio.sleep(0.05)


async def test_a_node_that_flaps_costs_no_answer(plane) -> None:
    """F28: each break is seen once, and the pause until it is tried again grows."""
    async with (
        FakeOllama() as steady,
        FakeOllama() as flapping,
        FaultProxy("127.0.0.1", urlsplit(flapping.url).port) as link,
    ):
        snapshot = await snapshot_of([steady, flapping])
        one, other = snapshot.nodes
        nodes = (one, msgspec.structs.replace(other, address=link.url("http")))
        sealed = wire.seal(msgspec.structs.replace(snapshot, nodes=nodes), SNAPSHOT_KEY.encode())
        assert await plane.app.state.offer(sealed, "test")
        for turn in (1, 2):
            answers = await asyncio.gather(*(plane.chat() for _ in range(8)))
            await link.down()
            answers += await asyncio.gather(*(plane.chat() for _ in range(8)))
            assert [answer.status for answer in answers] == [200] * 16
            await link.up()
            await eventually(lambda: not plane.app.circuits.down)
            assert len(plane.lines("node_moved")) == 2 * turn
        assert {request.path for request in flapping.requests} >= {"/api/chat"}


async def test_a_wrong_clock_changes_nothing_but_the_expiry_of_keys(plane, monkeypatch) -> None:
    """F65."""
    wall: Callable[[], float] = time.time
    async with FakeOllama() as node:
        await plane.apply(node)
        for hours in (1, -1, 24, 0):
            monkeypatch.setattr(time, "time", lambda hours=hours: wall() + hours * 3600)
            assert (await plane.chat()).status == 200
            assert plane.app.health.is_ready
        assert plane.app.circuits.down == set()
        assert {line["outcome"] for line in plane.lines()} == {"ok"}
        assert max(line["took_s"] for line in plane.lines()) < 5.0
        await eventually(lambda: plane.app.gate.in_flight == 0)


def lowest_unused(pid: int) -> int:
    """The descriptor that a process would get next."""
    used = {int(entry.name) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    return next(number for number in itertools.count() if number not in used)


async def test_a_want_of_descriptors_of_our_own_is_no_nodes_fault(start, session) -> None:
    """F40: neither a request nor a probe that could not even be sent speaks against a node."""
    async with FakeOllama(["a"]) as node:
        process = await start(await snapshot_of([node]))
        ask = {"model": "a", "messages": [], "stream": False}
        async with session.get(process.url("/api/version")) as answer:
            assert answer.status == 200  # the connection to the proxy stands, none to the node
        pid = process.process.pid
        soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (lowest_unused(pid), hard))
        async with session.post(process.url("/api/chat"), json=ask) as answer:
            said = await answer.json()
            assert (answer.status, said["code"]) == (503, "overloaded")
            assert "ulimit" in said["error"]
        await eventually(lambda: process.of("probe_not_possible"), within_s=20.0)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        async with session.post(process.url("/api/chat"), json=ask) as answer:
            assert answer.status == 200
        assert not process.of("node_moved")
