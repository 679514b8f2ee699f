"""What the policy has learned, over restarts."""

import random
import signal
import time

import msgspec
import pytest

from data_plane.routing.pair import Pair
from data_plane.routing.policy import Policy
from data_plane.sync.learned import MAX_LEFT_BYTES, Left, Memory
from data_plane.sync.subscriber import connect
from data_plane.telemetry.metrics import Metrics
from shared import keys


class Told:
    """A log that keeps what it is told."""

    def __init__(self):
        self.events = []

    def warning(self, event, **_fields):
        self.events.append(event)

    def debug(self, event, **_fields):
        self.events.append(event)


@pytest.fixture
async def memory_at(engine):
    opened = []

    def make(directory, instance="one"):
        policy, told, redis = Policy(random.random), Told(), connect(engine.url)
        opened.append(redis)
        return policy, told, Memory(policy, directory, Left(redis, instance), told, Metrics())

    yield make
    for redis in opened:
        await redis.aclose()


def taught(policy, prefill):
    pair = policy._learned.pairs.setdefault("a", {}).setdefault("m", Pair())
    pair.saw_prefill(prefill)


async def test_what_was_kept_is_recalled(memory_at, tmp_path) -> None:
    policy, _, memory = memory_at(tmp_path / "data")
    taught(policy, 77.0)
    await memory.keep()
    again, told, memory = memory_at(tmp_path / "data")
    await memory.recall()
    assert again.learned() == policy.learned()
    assert told.events == []
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["learned.json"]


async def test_the_first_start_has_nothing_to_recall(memory_at, tmp_path) -> None:
    _, told, memory = memory_at(tmp_path)
    await memory.recall()
    assert told.events == []


async def test_what_cannot_be_read_is_named_and_forgotten(memory_at, tmp_path) -> None:
    policy, told, memory = memory_at(tmp_path)
    (tmp_path / "learned.json").write_bytes(b"{broken")
    before = policy.learned()
    await memory.recall()
    assert told.events == ["learned_ignored"]
    assert policy.learned() == before


async def test_a_disk_that_refuses_is_named(memory_at, tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    _, told, memory = memory_at(tmp_path / "file")
    await memory.keep()
    assert told.events == ["learned_not_written"]


async def test_with_an_empty_disk_what_others_have_learned_is_taken(
    memory_at, engine, tmp_path
) -> None:
    now = time.time()
    for name, prefill, age_s in (("old", 10.0, 50.0), ("new", 20.0, 0.0)):
        policy, _, memory = memory_at(tmp_path / name, name)
        taught(policy, prefill)
        await memory.keep()
        engine.client.zadd(keys.INSTANCES, {name: now - age_s})
        assert 0 < engine.client.ttl(keys.learned(name)) <= keys.LEARNED_TTL_S
    fresh, told, memory = memory_at(tmp_path / "fresh", "fresh")
    await memory.recall()
    assert fresh._learned.pairs["a"]["m"].prefill == [20.0]
    again, _, memory = memory_at(tmp_path / "moved", "old")  # its own, on another machine
    await memory.recall()
    assert again._learned.pairs["a"]["m"].prefill == [10.0]
    on_disk, _, memory = memory_at(tmp_path / "old", "new")
    await memory.recall()
    assert on_disk._learned.pairs["a"]["m"].prefill == [10.0]
    assert told.events == []


async def test_what_others_have_left_and_cannot_be_read_is_passed_over(
    memory_at, engine, tmp_path
) -> None:
    good, _, memory = memory_at(tmp_path / "good", "good")
    taught(good, 20.0)
    await memory.keep()
    engine.client.set(keys.learned("odd"), b"\xc1")
    engine.client.set(keys.learned("huge"), b" " * (MAX_LEFT_BYTES + 1))
    engine.client.zadd(keys.INSTANCES, {"odd": 3.0, "huge": 2.0, "good": 1.0})
    fresh, told, memory = memory_at(tmp_path / "fresh", "fresh")
    await memory.recall()
    assert fresh.learned() == good.learned()
    assert told.events == ["learned_ignored"]


async def test_numbers_that_no_formula_could_bear_are_left_out(memory_at, engine, tmp_path) -> None:
    numbers = {
        "prefill": [0.0, -1.0, 1e300, 50.0],
        "steps": [0.0, 1e-300],
        "load_s": -5.0,
        "first_byte_s": 1e18,
        "slots": [(0, 1.0, 1.0), (10**9, 1.0, 1.0), (2, -1.0, 1.0), (3, 1.0, 0.0)],
    }
    habits = {"m": (0.0, 1.0, 1.0), "n": (1.0, 200.0, 100.0)}
    told = {"pairs": {"a": {"m": numbers}}, "habits": habits}
    engine.client.set(keys.learned("one"), msgspec.json.encode(told))
    policy, _, memory = memory_at(tmp_path)
    await memory.recall()
    pair = policy._learned.pairs["a"]["m"]
    assert (pair.prefill, pair.steps, pair.load_s, pair.first_byte_s) == ([50.0], [], None, None)
    assert pair._levels == {3: [1.0, 0.0]}
    assert set(policy._learned.habits) == {"n"}


async def test_who_has_learned_nothing_leaves_nothing(memory_at, engine, tmp_path) -> None:
    _, _, memory = memory_at(tmp_path)
    await memory.keep()
    assert not engine.client.exists(keys.learned("one"))


async def test_more_than_redis_should_bear_stays_on_the_disk(memory_at, engine, tmp_path) -> None:
    policy, _, memory = memory_at(tmp_path)
    taught(policy, 77.0)
    policy._learned.pairs["x" * MAX_LEFT_BYTES] = {"m": Pair()}
    await memory.keep()
    assert not engine.client.exists(keys.learned("one"))
    again, _, memory = memory_at(tmp_path)
    await memory.recall()
    assert again.learned() == policy.learned()


async def test_a_frozen_redis_delays_neither_start_nor_end_for_long(
    memory_at, engine, tmp_path
) -> None:
    policy, told, memory = memory_at(tmp_path)
    taught(policy, 77.0)
    engine.signal(signal.SIGSTOP)
    try:
        began = time.monotonic()
        await memory.recall()
        await memory.keep()
        assert time.monotonic() - began < 10.0
    finally:
        engine.signal(signal.SIGCONT)
    assert told.events == ["learned_not_found", "learned_not_left"]
    assert (tmp_path / "learned.json").exists()
