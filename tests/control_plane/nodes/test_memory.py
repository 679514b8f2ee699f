from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as some

from control_plane.nodes.memory import (
    CROWDED_FOR_S,
    Held,
    Memory,
    Room,
    memory_of,
    memory_take,
    memory_text,
)
from shared.snapshot import LoadedModel

NOW = 1_800_000_000.0


def at(seconds: float) -> str:
    return dt.datetime.fromtimestamp(NOW + seconds, dt.UTC).isoformat()


def loaded(name: str, size: int = 8, expires_at: str = "") -> LoadedModel:
    return LoadedModel(
        name=name,
        canonical=f"registry.ollama.ai/library/{name}:latest",
        digest=f"digest-of-{name}",
        size_bytes=size,
        size_vram_bytes=size,
        expires_at=expires_at or at(300),
    )


def test_what_was_held_at_once_fits_and_a_model_alone_always_does() -> None:
    memory = memory_take(Memory(), [], [loaded("a", 8), loaded("b", 4)], NOW)
    assert memory.most == Held(count=2, size_bytes=12)
    assert memory.room_for(Held(count=2, size_bytes=12), NOW) is Room.FITS
    assert memory.room_for(Held(count=2, size_bytes=13), NOW) is Room.UNKNOWN
    assert memory.room_for(Held(count=3, size_bytes=12), NOW) is Room.UNKNOWN
    assert Memory().room_for(Held(count=1, size_bytes=2**60), NOW) is Room.FITS


def test_a_model_pushed_out_before_its_time_says_what_was_too_much_for_a_day() -> None:
    memory = memory_take(Memory(), [loaded("a", 8)], [loaded("b", 4)], NOW)
    assert memory.crowded == Held(count=2, size_bytes=12)
    both = Held(count=2, size_bytes=12)
    assert memory.room_for(both, NOW) is Room.CROWDED
    assert memory.room_for(Held(count=3, size_bytes=20), NOW) is Room.CROWDED
    assert memory.room_for(Held(count=2, size_bytes=11), NOW) is Room.UNKNOWN
    assert memory.room_for(both, NOW + CROWDED_FOR_S) is Room.UNKNOWN


@pytest.mark.parametrize(
    "expires_at", [at(-1), at(-1).replace("+00:00", "")], ids=["with an offset", "without one"]
)
def test_a_model_whose_time_was_over_was_not_pushed_out(expires_at: str) -> None:
    memory = memory_take(Memory(), [loaded("a", expires_at=expires_at)], [loaded("b")], NOW)
    assert memory.crowded is None


def test_a_model_that_left_while_none_came_was_not_pushed_out() -> None:
    memory = memory_take(Memory(), [loaded("a"), loaded("b")], [loaded("b")], NOW)
    assert memory.crowded is None


def test_a_model_that_stays_for_ever_was_pushed_out_when_it_is_gone() -> None:
    for_ever = loaded("a", expires_at="2318-08-01T10:00:00.123456789+02:00")
    assert memory_take(Memory(), [for_ever], [loaded("b")], NOW).crowded is not None
    beyond = loaded("a", expires_at="292277026596-12-04T15:30:07Z")
    assert memory_take(Memory(), [beyond], [loaded("b")], NOW).crowded is not None


def test_what_is_held_at_once_is_too_much_no_longer() -> None:
    crowded = memory_take(Memory(), [loaded("a")], [loaded("b")], NOW)
    again = memory_take(crowded, [loaded("b")], [loaded("a"), loaded("b")], NOW + 60)
    assert again.crowded is None


@pytest.mark.parametrize(
    ("was", "is_", "expected"),
    [
        ([], loaded("a"), NOW),
        ([loaded("a", expires_at=at(100))], loaded("a", expires_at=at(160)), NOW),
        ([loaded("a", expires_at=at(-5))], loaded("a", expires_at=at(-5)), NOW),
        ([loaded("a", expires_at=at(100))], loaded("a", expires_at=at(100)), NOW - 600),
    ],
    ids=["it came", "it was put off", "it outlives its time", "nothing moved"],
)
def test_when_a_model_was_last_in_use(
    was: list[LoadedModel], is_: LoadedModel, expected: float
) -> None:
    memory = Memory(used={"digest-of-a": NOW - 600})
    assert memory_take(memory, was, [is_], NOW).used == {"digest-of-a": expected}


looks = some.lists(
    some.lists(some.sampled_from("abcd"), unique=True).map(
        lambda names: [loaded(name, size=ord(name)) for name in names]
    ),
    max_size=8,
)


@given(looks)
def test_whatever_is_seen_the_stored_form_says_the_same_and_what_is_held_fits(
    seen: list[list[LoadedModel]],
) -> None:
    memory, was = Memory(), []
    for step, held in enumerate(seen):
        memory = memory_take(memory, was, held, NOW + step)
        assert memory_of(memory_text(memory)) == memory
        assert set(memory.used) == {model.digest for model in held}
        total = Held(count=len(held), size_bytes=sum(model.size_bytes for model in held))
        assert memory.room_for(total, NOW + step) is Room.FITS
        was = held


def test_nothing_seen_is_stored_as_nothing() -> None:
    assert memory_of("") == Memory()
