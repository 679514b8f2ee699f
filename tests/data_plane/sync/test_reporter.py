"""What instances tell each other."""

import asyncio
import time

from fakes.ollama import FakeOllama

from shared import keys, reports


async def until(question, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not question():
            await asyncio.sleep(0.01)


def report_of(engine, instance: str) -> reports.Report | None:
    data = engine.client.get(keys.report(instance))
    return reports.decode(data) if data else None


async def test_active_requests_are_told_and_heard(make_plane, engine) -> None:
    """Two instances: each counts what the other does."""
    async with FakeOllama() as node:
        quick = {"REDIS_URL": engine.url, "AIVONX_REPORT_INTERVAL_S": "0.05"}
        one = await make_plane(**quick, AIVONX_INSTANCE="one")
        two = await make_plane(**quick, AIVONX_INSTANCE="two")
        for plane in (one, two):
            await plane.apply(node)
        with one.app.leases.take("n1", 0.0), one.app.leases.take("n1", 0.0):
            await until(lambda: two.app.leases.counts.get("n1") == 2)
            with two.app.leases.take("n1", 0.0):
                assert two.app.leases.counts["n1"] == 3
                await until(lambda: one.app.leases.counts.get("n1") == 3)
            found = report_of(engine, "one")
            assert found.nodes["n1"].active_count == 2
            assert found.ready
            assert engine.client.zscore(keys.INSTANCES, "one")
            assert 0 < engine.client.ttl(keys.report("one")) <= keys.REPORT_TTL_S
        await until(lambda: not two.app.leases.counts)


async def test_a_dead_instance_weighs_on_nobody(make_plane, engine) -> None:
    async with FakeOllama() as node:
        plane = await make_plane(REDIS_URL=engine.url, AIVONX_REPORT_INTERVAL_S="0.05")
        await plane.apply(node)
        other = reports.Report(
            instance="gone",
            version="1",
            host="h",
            pid=1,
            started_at=0.0,
            reported_at=0.0,
            epoch="e1",
            revision=1,
            ready=True,
            draining=False,
            requests_total=1,
            nodes={"n1": reports.NodeReport(active_count=4)},
        )
        engine.client.zadd(keys.INSTANCES, {"gone": time.time()})
        engine.client.set(keys.report("gone"), reports.encode(other), px=300)
        await until(lambda: plane.app.leases.counts.get("n1") == 4)
        await until(lambda: not plane.app.leases.counts)


async def test_the_sweeps_latencies_and_its_age_are_read(make_plane, engine) -> None:
    async with FakeOllama() as node:
        engine.client.hset(keys.LATENCIES, mapping={"n1": "0.25", "n2": "nonsense"})
        engine.client.set(keys.SWEEP_FINISHED_AT, str(time.time()))
        plane = await make_plane(REDIS_URL=engine.url)
        await plane.apply(node)
        await until(lambda: plane.app.latencies.values.get("n1") == 0.25)
        assert not plane.app.selection.verdicts_are_stale


async def test_a_clean_stop_takes_the_report_away(make_plane, engine) -> None:
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_INSTANCE="leaving")
    await until(lambda: report_of(engine, "leaving"))
    await plane.app.reporter.withdraw()
    assert report_of(engine, "leaving") is None
    assert engine.client.zscore(keys.INSTANCES, "leaving") is None
