"""What instances tell each other."""

import asyncio
import signal
import time

import pytest
from fakes.ollama import FakeOllama

from data_plane.routing.events import Arrival
from data_plane.routing.pools import key_of
from shared import flights, keys, reports
from shared.flights import Flights, PairFlights
from shared.model_names import canonical_name
from shared.snapshot import ProxyConfig, Strategy


async def until(question, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not question():
            await asyncio.sleep(0.01)


def report_of(engine, instance: str) -> reports.Report | None:
    data = engine.client.get(keys.report(instance))
    return reports.decode(data) if data else None


def other_report(instance: str, active_count: int) -> reports.Report:
    return reports.Report(
        instance=instance,
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
        nodes={"n1": reports.NodeReport(active_count=active_count)},
    )


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
        other = other_report("gone", 4)
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


def there(plane, node_id: str = "n1") -> dict[str, int]:
    """What the plane knows others to do at a node, by model."""
    found = plane.app.policy.fleet.nodes.get(node_id)
    return {} if found is None else dict(found.pairs)


async def pair_of(make_plane, engine, node, **fields):
    """Two instances that predict, in front of a node."""
    quick = {"REDIS_URL": engine.url, "AIVONX_REPORT_INTERVAL_S": "0.05"}
    one = await make_plane(**quick, AIVONX_INSTANCE="one")
    two = await make_plane(**quick, AIVONX_INSTANCE="two")
    for plane in (one, two):
        await plane.apply(node, config=ProxyConfig(**fields))
    return one, two


async def test_requests_are_told_and_heard_by_model(make_plane, engine) -> None:
    async with FakeOllama() as node:
        one, two = await pair_of(make_plane, engine, node, strategy=Strategy.PREDICTED)
        entry = one.app.state.current.pools.models[canonical_name("llama3.2")]
        asked = Arrival(canonical=entry.canonical, digest=entry.model.digest, blocks=(1, 2))
        key = key_of(entry.model)
        with one.app.leases.take("n1", 0.0), one.app.leases.take("n1", 0.0):
            ticket = one.app.policy.sent(asked, "n1", 0.0)  # the other is not told of
            await until(lambda: there(two) == {key: 1})
            await until(lambda: two.app.leases.counts.get("n1") == 2)
            prompts = two.app.policy._shadow.places["n1"].runners[key].prompts
            assert prompts.kept == [(1, 2)]
            assert 0 < engine.client.ttl(keys.flights("one")) <= keys.FLIGHTS_TTL_S
            one.app.policy.aborted(ticket, 1.0)
        await until(lambda: not there(two) and not two.app.leases.counts)


async def test_where_nothing_is_predicted_no_more_is_collected(make_plane, engine) -> None:
    async with FakeOllama() as node:
        one, two = await pair_of(make_plane, engine, node)
        with one.app.leases.take("n1", 0.0):
            await until(lambda: two.app.leases.counts.get("n1") == 1)
            assert not engine.client.exists(keys.flights("one"))
        await one.apply(node, config=ProxyConfig(model_strategies={"qwen*": Strategy.PREDICTED}))
        await until(lambda: engine.client.exists(keys.flights("one")))


async def test_one_that_is_alone_tells_nobody(make_plane, engine) -> None:
    async with FakeOllama() as node:
        plane = await make_plane(
            REDIS_URL=engine.url, AIVONX_REPORT_INTERVAL_S="0.05", AIVONX_INSTANCE="one"
        )
        await plane.apply(node, config=ProxyConfig(strategy=Strategy.PREDICTED))
        await until(lambda: report_of(engine, "one"))
        first = report_of(engine, "one")
        await until(lambda: report_of(engine, "one").reported_at > first.reported_at)
        assert not engine.client.exists(keys.flights("one"))


async def test_what_a_dead_instance_had_under_way_is_forgotten(make_plane, engine) -> None:
    async with FakeOllama() as node:
        plane = await make_plane(REDIS_URL=engine.url, AIVONX_REPORT_INTERVAL_S="0.05")
        await plane.apply(node, config=ProxyConfig(strategy=Strategy.PREDICTED))
        key = next(key_of(each.model) for each in plane.app.state.current.pools.models.values())
        told = Flights(
            life="x", nodes=("n1",), models=(key,), active=(4,), pairs=(PairFlights(0, 0, 4),)
        )
        engine.client.zadd(keys.INSTANCES, {"gone": time.time()})
        engine.client.set(keys.flights("gone"), flights.encode(told), px=2_000)
        await until(lambda: there(plane) == {key: 4} and plane.app.leases.counts.get("n1") == 4)
        await until(lambda: not there(plane) and not plane.app.leases.counts, 10.0)


async def test_a_record_that_cannot_be_read_is_no_record(make_plane, engine) -> None:
    async with FakeOllama() as node:
        plane = await make_plane(
            REDIS_URL=engine.url, AIVONX_REPORT_INTERVAL_S="0.05", AIVONX_INSTANCE="one"
        )
        engine.client.zadd(keys.INSTANCES, {"odd": time.time(), "older": time.time()})
        engine.client.set(keys.flights("odd"), b"\xc1 not ours")
        engine.client.set(keys.report("older"), reports.encode(other_report("older", 2)))
        await plane.apply(node, config=ProxyConfig(strategy=Strategy.PREDICTED))
        await until(lambda: plane.app.leases.counts.get("n1") == 2)
        assert there(plane) == {}


@pytest.mark.parametrize("how", ["frozen", "dead"])
async def test_while_redis_is_away_only_what_is_known_changes(make_plane, engine, how) -> None:
    """F43, F45 for what is under way: requests go on, and nothing stale is believed."""
    async with FakeOllama() as node:
        one, two = await pair_of(make_plane, engine, node, strategy=Strategy.PREDICTED)
        with one.app.leases.take("n1", 0.0):
            await until(lambda: two.app.leases.counts.get("n1") == 1)
            if how == "frozen":
                engine.signal(signal.SIGSTOP)
            else:
                engine.kill()
            try:
                assert (await two.chat(stream=False)).status == 200
                # Three seconds, one call that waits for its limit, and a machine that is busy.
                await until(lambda: not two.app.leases.counts, 20.0)
                assert (await two.chat(stream=False)).status == 200
            finally:
                if how == "frozen":
                    engine.signal(signal.SIGCONT)
                else:
                    engine.start()
            await until(lambda: two.app.leases.counts.get("n1") == 1, 20.0)
