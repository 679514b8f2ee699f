"""Silence is not death; a dead node lets everybody go."""

import asyncio
import json
import time

from fakes.ollama import FakeOllama

from data_plane.upstream.faults import NodeFailedError
from data_plane.upstream.lease import Lease
from data_plane.upstream.watch import LOOKED_AT_ONCE
from shared.snapshot import ProxyConfig

QUICK = ProxyConfig(connect_timeout_s=0.3, probe_interval_s=0.1, probe_timeout_s=0.2)


async def until(question, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not question():
            await asyncio.sleep(0.005)


def freeze(node: FakeOllama, *, after: int | None = None) -> None:
    """As SIGSTOP does: connections are accepted, and nothing is ever answered."""
    if after is not None:
        node.fault("stall", path="/api/chat", after=after)
    else:
        node.fault("silence", path="/api/chat")
    node.fault("silence", path="/api/version")


async def test_a_slow_node_is_waited_for(plane) -> None:
    """F08: silent far beyond the probe interval, yet it answers probes."""
    async with FakeOllama(load_s=0.8) as slow, FakeOllama() as other:
        await plane.apply(slow, other)
        with plane.app.leases.take("n2", 0.0):
            answer = await plane.chat()
        assert answer.status == 200
        assert answer.headers["X-Aivonx-Node"] == "node-1"
        assert answer.headers["X-Aivonx-Attempts"] == "1"
        assert not plane.app.circuits.down
        probes = [seen for seen in slow.requests if seen.path == "/api/version"]
        assert 3 <= len(probes) <= 10, "one prober, at the probe interval"


async def test_many_that_wait_share_one_prober(plane) -> None:
    async with FakeOllama(load_s=0.6, num_parallel=50) as slow:
        await plane.apply(slow)
        await asyncio.gather(*(plane.chat() for _ in range(30)))
        probes = [seen for seen in slow.requests if seen.path == "/api/version"]
        assert len(probes) <= 10


async def test_requests_that_wait_for_a_frozen_node_move_on(plane) -> None:
    """F06."""
    async with FakeOllama() as frozen, FakeOllama() as other:
        await plane.apply(frozen, other)
        freeze(frozen)
        with plane.app.leases.take("n2", 0.0):
            began_at = time.monotonic()
            answer = await plane.chat()
            took_s = time.monotonic() - began_at
        assert answer.status == 200
        assert answer.headers["X-Aivonx-Attempts"] == "2"
        assert 0.3 < took_s < 3.0, "three failed probes, no more"
        assert "n1" in plane.app.circuits.down


async def test_without_another_node_the_wait_ends_at_the_same_moment(plane) -> None:
    """F06: 504, not after the idle limit."""
    async with FakeOllama() as frozen:
        await plane.apply(frozen)
        freeze(frozen)
        began_at = time.monotonic()
        answer = await plane.chat()
        assert time.monotonic() - began_at < 3.0
        assert answer.status == 504
        assert answer.json()["code"] == "upstream_timeout"
        assert (await plane.line())["outcome"] == "node_timeout"


async def test_a_begun_answer_of_a_frozen_node_ends_visibly(plane, dial) -> None:
    """F07; afterwards the node comes back by itself."""
    async with FakeOllama() as frozen:
        await plane.apply(frozen)
        freeze(frozen, after=2)
        wire = await dial(plane)
        wire.post(
            "/api/chat", {"model": "llama3.2", "messages": [{"role": "user", "content": "?"}]}
        )
        received = await wire.to_the_end(within_s=3.0)
        assert not received.endswith(b"0\r\n\r\n")
        record = json.loads(received.rpartition(b"\r\n")[0].rpartition(b"\r\n")[2])
        assert record["code"] == "upstream_stalled"
        assert (await plane.line())["outcome"] == "node_timeout"
        frozen.clear_faults()
        await until(lambda: not plane.app.circuits.down)
        assert (await plane.chat()).status == 200
        assert [line["to"] for line in plane.lines("node_moved")] == ["standby", "active"]


async def test_an_answer_silent_beyond_the_limit_is_given_up_though_the_node_lives(
    plane, dial
) -> None:
    async with FakeOllama() as node:
        config = ProxyConfig(probe_interval_s=0.1, probe_timeout_s=0.2, stream_idle_timeout_s=0.4)
        await plane.apply(node, config=config)
        node.fault("stall", path="/api/chat", after=2)
        wire = await dial(plane)
        wire.post(
            "/api/chat", {"model": "llama3.2", "messages": [{"role": "user", "content": "?"}]}
        )
        received = await wire.to_the_end(within_s=3.0)
        assert b"upstream_stalled" in received
        assert not plane.app.circuits.down


async def test_a_node_that_moves_to_another_address_starts_afresh(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first)
        await first.refuse()
        assert (await plane.chat()).status == 503
        assert plane.app.circuits.down
        await plane.apply(second)
        assert not plane.app.circuits.down
        assert (await plane.chat()).status == 200


async def test_quiet_nodes_get_a_latency(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        plane.app.watch._routine_at["n1"] = 0.0
        await until(lambda: "n1" in plane.app.latencies.values)
        assert plane.app.account.report().nodes["n1"].latency_s < 1.0


async def test_the_sweeps_latency_counts_once(plane) -> None:
    latencies = plane.app.latencies
    latencies.sweep_reported({"n1": 1.0})
    latencies.observe("n1", 0.0)
    blended = latencies.values["n1"]
    latencies.sweep_reported({"n1": 1.0})
    assert latencies.values["n1"] == blended


async def test_while_thousands_are_looked_at_streams_go_on(plane) -> None:
    """What is looked at in one go holds up every other stream."""
    async with FakeOllama() as node:
        await plane.apply(node)
        leases = [plane.app.leases.take("n1", 0.0) for _ in range(20 * LOOKED_AT_ONCE)]
        turns = 0

        async def stream() -> None:
            nonlocal turns
            while True:
                await asyncio.sleep(0)
                turns += 1

        streaming = asyncio.create_task(stream())
        await asyncio.sleep(0)
        before = turns
        assert await plane.app.watch._silent_nodes(QUICK, 1.0) == {"n1"}
        assert turns - before >= 19
        streaming.cancel()
        for lease in leases:
            lease.release()


async def test_an_answer_that_ended_meanwhile_is_not_let_go(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        leases = [plane.app.leases.take("n1", 0.0) for _ in range(2 * LOOKED_AT_ONCE)]
        end = asyncio.Event()

        async def hold(lease: Lease) -> None:
            with lease:
                lease.has_begun = True
                await end.wait()

        held = [asyncio.create_task(hold(lease)) for lease in leases]
        await asyncio.sleep(0)
        config = ProxyConfig(stream_idle_timeout_s=0.5)
        looking = asyncio.create_task(plane.app.watch._silent_nodes(config, 1.0))
        await asyncio.sleep(0)  # the first of them are looked at
        for lease in leases:
            lease.release()
        await looking
        end.set()
        ended = await asyncio.gather(*held, return_exceptions=True)
        let_go = [type(each) for each in ended].count(NodeFailedError)
        assert let_go == LOOKED_AT_ONCE - 1  # whichever they were: leases have no order
        assert ended.count(None) == len(leases) - let_go
