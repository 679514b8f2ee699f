"""Last good on disk: for restarts, never trusted unread, and never in the way."""

import asyncio
import gc
import time

import pytest
from fakes.snapshots import make_snapshot

from shared import wire
from shared.snapshot import ApiKey, AvailableModel, Model, Node, ProxyConfig, Snapshot

KEY = b"a snapshot key of enough bytes"


def sealed(revision: int = 1) -> bytes:
    return wire.seal(make_snapshot({"a": ["llama3"]}, revision=revision), KEY)


def last_good(plane):
    return plane.app.settings.data_dir / "data_plane" / "snapshot.sealed"


async def test_what_was_applied_is_on_disk_and_only_ours(make_plane) -> None:
    plane = await make_plane()
    await plane.app.state.offer(sealed(), "test")
    path = last_good(plane)
    assert path.read_bytes() == sealed()
    assert path.stat().st_mode & 0o777 == 0o600
    assert [found.name for found in path.parent.iterdir()] == ["snapshot.sealed"]


async def test_a_restart_with_everything_else_down_serves(make_plane) -> None:
    """F54: from disk."""
    first = await make_plane()
    await first.app.state.offer(sealed(7), "test")
    second = await make_plane()
    assert second.app.health.is_ready
    assert second.app.state.current.snapshot.revision == 7
    assert second.lines("snapshot_applied")[0]["source"] == "disk"


async def test_keys_stay_enforced_after_a_restart(make_plane) -> None:
    snapshot = make_snapshot({"a": ["llama3"]}, keys=(ApiKey(id="k", sha256="0" * 64),))
    first = await make_plane()
    await first.app.state.offer(wire.seal(snapshot, KEY), "test")
    second = await make_plane()
    assert (await second.get("/api/tags")).status == 401


@pytest.mark.parametrize("cut", [0, 1, 50, 200, -1])
async def test_a_damaged_file_is_ignored(make_plane, cut) -> None:
    """S49. F64."""
    first = await make_plane()
    await first.app.state.offer(sealed(), "test")
    last_good(first).write_bytes(sealed()[:cut])
    second = await make_plane()
    assert second.app.state.current is None
    assert second.lines("snapshot_refused")


async def test_a_file_of_somebody_else_is_ignored(make_plane, monkeypatch) -> None:
    """F64."""
    first = await make_plane()
    await first.app.state.offer(sealed(), "test")
    monkeypatch.setattr("os.geteuid", lambda: 12_345)
    second = await make_plane()
    assert second.app.state.current is None
    assert second.lines("last_good_ignored")


async def test_a_disk_that_cannot_be_written_stops_nothing(make_plane) -> None:
    """F63."""
    plane = await make_plane()
    last_good(plane).parent.parent.mkdir(exist_ok=True)
    last_good(plane).parent.write_text("a file where the directory should be")
    assert await plane.app.state.offer(sealed(), "test")
    assert await plane.app.state.offer(sealed(2), "test")
    assert plane.app.state.current.snapshot.revision == 2
    assert len(plane.lines("last_good_not_written")) == 1, "once a minute"
    assert b"aivonx_snapshot_persist_errors_total 2.0" in plane.app.metrics.exposition()


async def test_a_disk_that_is_newer_than_redis_wins(make_plane) -> None:
    plane = await make_plane()
    await plane.app.state.offer(sealed(5), "test")
    assert not await plane.app.state.offer(sealed(4), "redis")
    assert plane.app.state.current.snapshot.revision == 5


def large() -> Snapshot:
    models = tuple(
        Model(name=f"m{number}:latest", canonical=f"registry.ollama.ai/library/m{number}:latest")
        for number in range(200)
    )
    nodes = tuple(
        Node(
            id=f"node-{number}",
            name=f"node-{number}",
            address=f"http://10.0.{number // 250}.{number % 250}:11434",
            available=tuple(
                AvailableModel((number + offset) % 200, "2026-01-01T00:00:00Z")
                for offset in range(50)
            ),
        )
        for number in range(1_000)
    )
    return Snapshot(
        epoch="e1",
        revision=1,
        built_at=0.0,
        config=ProxyConfig(),
        models=models,
        nodes=nodes,
        keys=(),
    )


async def test_a_thousand_nodes_are_applied_without_holding_up_streams(make_plane) -> None:
    plane = await make_plane()
    data = wire.seal(large(), KEY)
    held_up_s = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            held_up_s.append(time.perf_counter() - before - 0.001)

    gc.collect()
    gc.freeze()  # as a data plane does: what else these tests have made takes 0.3 s to look at
    try:
        ticking = asyncio.create_task(tick())
        began_at = time.perf_counter()
        assert await plane.app.state.offer(data, "test")
        took_s = time.perf_counter() - began_at
        ticking.cancel()
    finally:
        gc.unfreeze()
    print(f"applied 1,000 x 50 in {took_s:.3f} s, loop held up {max(held_up_s):.3f} s")
    assert took_s < 2.0
    # In steps, whatever they take here: held up by all of it, no tick would come meanwhile.
    assert max(held_up_s) < max(0.2, took_s / 2)
