"""Following the snapshot in Redis, whatever happens to Redis."""

import asyncio
import signal
import time

import msgspec
import pytest
from fakes.ollama import FakeOllama
from fakes.snapshots import make_snapshot

from shared import keys, wire
from shared.snapshot import Snapshot

KEY = b"a snapshot key of enough bytes"
SLOW_POLL = {"AIVONX_SYNC_INTERVAL_S": "60"}
"""Whatever arrives within seconds came by a hint."""


def publish(engine, snapshot: Snapshot, *, hint: bool = True, key: bytes = KEY) -> None:
    sealed = wire.seal(snapshot, key)
    engine.client.set(keys.SNAPSHOT, sealed)
    if hint:
        engine.client.publish(keys.HINTS, wire.encode_hint(wire.hint_of(sealed)))


def revision(plane) -> int | None:
    current = plane.app.state.current
    return current.snapshot.revision if current else None


async def until(question, within_s: float = 5.0) -> None:
    async with asyncio.timeout(within_s):
        while not question():
            await asyncio.sleep(0.005)


async def subscribed(plane, count: int = 1) -> None:
    await until(lambda: len(plane.lines("redis_subscribed")) >= count)


async def test_the_snapshot_is_there_before_the_first_request(make_plane, engine) -> None:
    publish(engine, make_snapshot({"a": ["llama3"]}, revision=3))
    plane = await make_plane(REDIS_URL=engine.url)
    assert revision(plane) == 3
    assert plane.app.health.is_ready


async def test_a_change_is_applied_at_once_by_its_hint(make_plane, engine) -> None:
    publish(engine, make_snapshot({"a": ["llama3"]}))
    plane = await make_plane(REDIS_URL=engine.url, **SLOW_POLL)
    await subscribed(plane)
    began_at = time.monotonic()
    publish(engine, make_snapshot({"a": ["llama3"], "b": []}, revision=2))
    await until(lambda: revision(plane) == 2)
    assert time.monotonic() - began_at < 5.0, "the next look would come after a minute"


async def test_a_lost_hint_is_made_up_for(make_plane, engine) -> None:
    """F46."""
    publish(engine, make_snapshot({"a": []}))
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.3")
    await subscribed(plane)
    publish(engine, make_snapshot({"a": []}, revision=2), hint=False)
    await until(lambda: revision(plane) == 2, within_s=2.0)


async def test_without_redis_and_disk_it_is_alive_and_not_ready(make_plane, engine) -> None:
    """F42; and it is ready as soon as Redis is there."""
    engine.kill()
    plane = await make_plane(REDIS_URL=engine.url)
    assert not plane.app.health.is_ready
    assert (await plane.chat()).json()["code"] == "not_ready"
    engine.start()
    publish(engine, make_snapshot({"a": []}), hint=False)
    await until(lambda: revision(plane) == 1, within_s=3.0)


async def test_redis_may_die_and_return_under_traffic(make_plane, engine) -> None:
    """F43: no request fails; back in step within two seconds."""
    async with FakeOllama() as node:
        plane = await make_plane(REDIS_URL=engine.url, **SLOW_POLL)
        await plane.apply(node)
        await subscribed(plane)
        snapshot = plane.app.state.current.snapshot
        engine.kill()
        await until(lambda: plane.lines("redis_lost"))
        for _ in range(20):
            assert (await plane.chat()).status == 200
        engine.start()
        publish(engine, msgspec.structs.replace(snapshot, revision=9))
        began_at = time.monotonic()
        await until(lambda: revision(plane) == 9)
        assert time.monotonic() - began_at < 2.0
        assert len(plane.lines("redis_lost")) == 1
        assert len(plane.lines("redis_subscribed")) == 2


async def test_a_missing_key_is_not_an_empty_state(make_plane, engine) -> None:
    """F44."""
    publish(engine, make_snapshot({"a": ["llama3"]}))
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.05")
    engine.client.flushall()
    await asyncio.sleep(0.3)
    assert revision(plane) == 1
    assert len(plane.app.state.current.pools.nodes) == 1


async def test_a_frozen_redis_holds_up_nobody(make_plane, engine) -> None:
    """F45."""
    async with FakeOllama() as node:
        plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.05")
        await plane.apply(node)
        await subscribed(plane)
        engine.signal(signal.SIGSTOP)
        try:
            took_s = []
            for _ in range(50):
                began_at = time.monotonic()
                assert (await plane.chat()).status == 200
                took_s.append(time.monotonic() - began_at)
            # Not the slowest: on a busy machine one of fifty waits for the kernel.
            assert sorted(took_s)[-5] < 0.5
            began_at = time.monotonic()
            assert not await plane.app.subscriber.read_once()
            assert time.monotonic() - began_at < 1.5
        finally:
            engine.signal(signal.SIGCONT)


async def test_rights_to_read_are_enough_to_serve(make_plane, engine) -> None:
    """F51, S42: it follows and serves; that its reports are refused stops nothing."""
    async with FakeOllama() as node:
        publish(engine, make_snapshot({"a": ["llama3"]}))
        rules = f"reset on >secret ~{keys.SNAPSHOT} &{keys.HINTS} +@read +@pubsub +@connection"
        engine.client.execute_command("ACL", "SETUSER", "reader", *rules.split())
        url = engine.url.replace("redis://", "redis://reader:secret@")
        plane = await make_plane(REDIS_URL=url, AIVONX_REPORT_INTERVAL_S="0.2", **SLOW_POLL)
        await subscribed(plane)
        publish(engine, make_snapshot({"a": ["llama3"]}, revision=2))
        await until(lambda: revision(plane) == 2)
        await asyncio.sleep(0.5)  # some reports are refused
        await plane.apply(node, epoch="of the test")
        assert (await plane.chat()).status == 200
        assert not plane.lines("task_failed")


async def test_a_frozen_link_is_noticed(make_plane, engine) -> None:
    """A subscription is silent by nature; the ping tells."""
    plane = await make_plane(REDIS_URL=engine.url)
    await subscribed(plane)
    engine.signal(signal.SIGSTOP)
    try:
        await until(lambda: plane.lines("redis_lost"), within_s=9.0)
    finally:
        engine.signal(signal.SIGCONT)
    await subscribed(plane, 2)


async def test_a_storm_of_hints_costs_few_reads(make_plane, engine) -> None:
    """F47: 1,000 at once, each twice and a third of them late; the final version wins."""
    publish(engine, make_snapshot({"a": []}))
    plane = await make_plane(REDIS_URL=engine.url, **SLOW_POLL)
    await subscribed(plane)
    pipe = engine.client.pipeline(transaction=False)
    for number in range(2, 502):
        sealed = wire.seal(make_snapshot({"a": []}, revision=number), KEY)
        late = wire.seal(make_snapshot({"a": []}, revision=max(number - 5, 1)), KEY)
        pipe.set(keys.SNAPSHOT, sealed)
        for told in (sealed, late if number % 3 else sealed):
            pipe.publish(keys.HINTS, wire.encode_hint(wire.hint_of(told)))
    await asyncio.to_thread(pipe.execute)
    await until(lambda: revision(plane) == 501)
    assert len(plane.lines("snapshot_applied")) <= 10
    assert not plane.app.state.refused


async def test_an_older_revision_is_refused_and_reported(make_plane, engine) -> None:
    """F48; a new epoch may begin anywhere."""
    publish(engine, make_snapshot({"a": []}, revision=5))
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.05")
    publish(engine, make_snapshot({"a": []}, revision=4))
    await until(lambda: plane.app.state.refused)
    assert revision(plane) == 5
    refused = plane.app.account.report().refused
    assert (refused.revision, refused.reason) == (4, "older_revision")
    told = plane.app.metrics.exposition().decode()
    assert 'aivonx_snapshots_refused_total{reason="older_revision"}' in told
    await asyncio.sleep(0.3)
    assert len(plane.lines("snapshot_refused")) == 1, "said once, not at every look"
    renewed = msgspec.structs.replace(make_snapshot({"b": []}, revision=1), epoch="another")
    publish(engine, renewed)
    await until(lambda: revision(plane) == 1)
    assert plane.app.account.report().refused is None


async def test_an_epoch_that_has_ended_is_not_taken_up_again(make_plane, engine) -> None:
    """S43: whoever owns Redis may play back what was signed before a restore."""
    earlier, now = make_snapshot({"a": []}, revision=9), make_snapshot({"b": []}, revision=2)
    now = msgspec.structs.replace(now, epoch="another", built_at=earlier.built_at + 3_600.0)
    publish(engine, now)
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.05")
    publish(engine, earlier)
    await until(lambda: plane.app.state.refused)
    assert (plane.app.state.refused.revision, plane.app.state.refused.reason) == (9, "older_epoch")
    assert revision(plane) == 2


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda sealed: b"garbage", "malformed"),
        (lambda sealed: sealed[:-5], "bad_hash"),
        (lambda sealed: sealed.replace(b'"schema":1', b'"schema":9'), "unknown_schema"),
        (lambda sealed: b"x" * (wire.MAX_SNAPSHOT_BYTES + 1), "too_large"),
        (
            lambda sealed: wire.seal(make_snapshot({}, revision=2), b"another key" * 3),
            "bad_signature",
        ),
    ],
)
async def test_what_does_not_verify_is_refused_and_the_old_one_stays(
    make_plane, engine, damage, reason
) -> None:
    """F49; the next good one applies."""
    publish(engine, make_snapshot({"a": []}))
    plane = await make_plane(REDIS_URL=engine.url, AIVONX_SYNC_INTERVAL_S="0.05")
    engine.client.set(keys.SNAPSHOT, damage(wire.seal(make_snapshot({}, revision=2), KEY)))
    await until(lambda: plane.app.state.refused)
    assert plane.app.state.refused.reason == reason
    assert revision(plane) == 1
    publish(engine, make_snapshot({"a": []}, revision=3))
    await until(lambda: revision(plane) == 3)
