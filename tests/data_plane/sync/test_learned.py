"""What the policy has learned, over restarts."""

import random

from data_plane.routing.learning import Pair
from data_plane.routing.policy import Policy
from data_plane.sync.learned import Memory
from data_plane.telemetry.metrics import Metrics


class Told:
    """A log that keeps what it is told."""

    def __init__(self):
        self.events = []

    def warning(self, event, **_fields):
        self.events.append(event)


def memory_at(directory):
    policy, told = Policy(random.random), Told()
    return policy, told, Memory(policy, directory, told, Metrics())


async def test_what_was_kept_is_recalled(tmp_path) -> None:
    policy, _, memory = memory_at(tmp_path)
    policy._learned.pairs["a"] = {"m": Pair()}
    policy._learned.pairs["a"]["m"].saw_prefill(77.0)
    await memory.keep()
    again, told, memory = memory_at(tmp_path)
    await memory.recall()
    assert again.learned() == policy.learned()
    assert told.events == []
    assert [path.name for path in tmp_path.iterdir()] == ["learned.json"]


async def test_the_first_start_has_nothing_to_recall(tmp_path) -> None:
    _, told, memory = memory_at(tmp_path)
    await memory.recall()
    assert told.events == []


async def test_what_cannot_be_read_is_named_and_forgotten(tmp_path) -> None:
    policy, told, memory = memory_at(tmp_path)
    (tmp_path / "learned.json").write_bytes(b"{broken")
    before = policy.learned()
    await memory.recall()
    assert told.events == ["learned_ignored"]
    assert policy.learned() == before


async def test_a_disk_that_refuses_is_named(tmp_path) -> None:
    (tmp_path / "file").write_bytes(b"")
    _, told, memory = memory_at(tmp_path / "file")
    await memory.keep()
    assert told.events == ["learned_not_written"]
