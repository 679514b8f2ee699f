from __future__ import annotations

import datetime as dt
import uuid
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from control_plane.jobs.warmth import (
    FIRST_WAIT_S,
    HISTORY_S,
    LATELY_S,
    LONGEST_WAIT_S,
    SENTENCES,
    NodeView,
    Standing,
    Wish,
    chosen,
    judged,
    next_wait_s,
)
from control_plane.nodes.memory import Held, Memory, memory_take
from shared.snapshot import LoadedModel

NOW = 1_800_000_000.0
GB = 10**9
A, B, C = "library/a", "library/b", "library/c"


def loaded(canonical: str, size: int = 8 * GB, expires_in_s: float = 86_400.0) -> LoadedModel:
    expires = dt.datetime.fromtimestamp(NOW + expires_in_s, dt.UTC).isoformat()
    return LoadedModel(
        name=canonical,
        canonical=canonical,
        digest=f"digest-of-{canonical}",
        size_bytes=size,
        expires_at=expires,
    )


def node(name: str, *on_disk: str, holds: tuple[str, ...] = (), **knobs: Any) -> NodeView:
    knobs.setdefault("memory", Memory(used={f"digest-of-{held}": 0.0 for held in holds}))
    return NodeView(
        id=uuid.uuid5(uuid.NAMESPACE_DNS, name),
        name=name,
        is_active=knobs.pop("is_active", True),
        digests=knobs.pop("digests", {model: f"digest-of-{model}" for model in on_disk}),
        loaded=[loaded(held) for held in holds],
        **knobs,
    )


def wish(canonical: str, wanted: int = 1, **knobs: Any) -> Wish:
    knobs.setdefault("digest", f"digest-of-{canonical}")
    knobs.setdefault("size_bytes", 8 * GB)
    return Wish(canonical, wanted, **knobs)


def standings(found: list[Wish], canonical: str = A) -> dict[str, Standing]:
    (asked,) = [each for each in found if each.canonical == canonical]
    return {stand.node.name: stand.standing for stand in asked.stands}


def loads(found: list[Wish]) -> list[tuple[str, str]]:
    return [(each.canonical, view.name) for each, view in chosen(found)]


def test_so_many_nodes_load_it_as_are_missing_and_those_without_it_are_not_asked() -> None:
    nodes = [node("one", A, holds=(A,)), node("two", A), node("three", A), node("four", B)]
    found = judged([wish(A, 2)], nodes, NOW)
    assert standings(found) == {
        "one": Standing.WARM,
        "two": Standing.READY,
        "three": Standing.READY,
    }
    assert found[0].missing == 1
    assert len(loads(found)) == 1
    assert loads(judged([wish(A, 1)], nodes, NOW)) == []


def test_the_idle_node_loads_it_then_the_one_with_most_memory_free() -> None:
    roomy = Memory(most=Held(count=4, size_bytes=40 * GB))
    small = Memory(most=Held(count=4, size_bytes=20 * GB))
    nodes = [
        node("busy", A, memory=roomy, active_count=2),
        node("small", A, memory=small),
        node("roomy", A, memory=roomy),
    ]
    assert loads(judged([wish(A, 1)], nodes, NOW)) == [(A, "roomy")]
    assert loads(judged([wish(A, 2)], nodes, NOW)) == [(A, "roomy"), (A, "small")]


def test_the_same_weights_under_another_name_are_warm() -> None:
    nodes = [node("one", digests={A: "digest-of-library/b"}, holds=(B,))]
    found = judged([wish(A, digest="digest-of-library/b")], nodes, NOW)
    assert standings(found) == {"one": Standing.WARM}


@pytest.mark.parametrize(
    ("knobs", "standing"),
    [
        ({"is_active": False}, Standing.STANDBY),
        ({"digests": {A: "another"}}, Standing.OTHER_VERSION),
        ({"opened": {A: "load"}}, Standing.LOADING),
        ({"opened": {B: "load"}}, Standing.OCCUPIED),
        ({"opened": {A: "delete"}}, Standing.OCCUPIED),
        ({"opened": {B: "pull"}}, Standing.READY),
        ({"tried": {A: [NOW - 1]}}, Standing.WAITING),
        ({"tried": {B: [NOW - 1]}}, Standing.READY),
    ],
)
def test_what_keeps_a_node_from_loading_it(knobs: dict[str, Any], standing: Standing) -> None:
    found = judged([wish(A)], [node("one", A, **knobs)], NOW)
    assert standings(found) == {"one": standing}
    assert bool(loads(found)) is (standing is Standing.READY)


def test_a_version_of_its_own_is_no_hindrance_where_any_is_served() -> None:
    found = judged([wish(A, digest=None)], [node("one", digests={A: "another"})], NOW)
    assert loads(found) == [(A, "one")]


def test_a_node_gets_one_load_at_a_time() -> None:
    found = judged([wish(A), wish(B), wish(C)], [node("one", A, B, C)], NOW)
    assert len(loads(found)) == 1


def used(seconds_ago: float, **knobs: Any) -> Memory:
    return Memory(used={"digest-of-library/b": NOW - seconds_ago}, **knobs)


CROWDED = {"crowded": Held(count=2, size_bytes=16 * GB), "crowded_at": NOW - 60}
ROOMY = {"most": Held(count=2, size_bytes=16 * GB)}


@pytest.mark.parametrize(
    ("memory", "is_needed", "standing"),
    [
        (used(0, **ROOMY), True, Standing.READY),
        (used(LATELY_S + 1), False, Standing.READY),
        (used(LATELY_S + 1, **CROWDED), False, Standing.READY),
        (used(LATELY_S - 1), False, Standing.IN_USE),
        (used(LATELY_S - 1), True, Standing.IN_USE),
        (used(LATELY_S + 1), True, Standing.READY),
        (used(LATELY_S - 1, **CROWDED), False, Standing.NO_ROOM),
        (used(LATELY_S + 1, **CROWDED), True, Standing.NO_ROOM),
    ],
)
def test_who_must_not_be_pushed_out(memory: Memory, is_needed: bool, standing: Standing) -> None:
    there = node("one", A, B, holds=(B,), memory=memory)
    wishes = [wish(A), wish(B)] if is_needed else [wish(A)]
    found = judged(wishes, [there], NOW)
    assert standings(found)["one"] == standing


def test_a_copy_beyond_those_that_are_wished_for_may_be_pushed_out() -> None:
    old = Memory(used={"digest-of-library/b": 0.0}, **CROWDED)
    nodes = [node("one", A, B, holds=(B,), memory=old), node("two", B, holds=(B,))]
    assert standings(judged([wish(A), wish(B, 2)], nodes, NOW))["one"] is Standing.NO_ROOM
    assert standings(judged([wish(A), wish(B, 1)], nodes, NOW))["one"] is Standing.READY


def test_where_it_is_known_to_fit_comes_before_where_it_would_be_tried() -> None:
    there = Memory(used={"digest-of-library/b": 0.0})
    nodes = [
        node("try", A, B, holds=(B,), memory=there),
        node("empty", A, active_count=9),
    ]
    assert loads(judged([wish(A), wish(B)], nodes, NOW)) == [(A, "empty")]


def test_the_waits_double_up_to_an_hour() -> None:
    waits = [next_wait_s(tries) for tries in range(9)]
    assert waits[:4] == [0.0, FIRST_WAIT_S, 2 * FIRST_WAIT_S, 4 * FIRST_WAIT_S]
    assert waits[-1] == next_wait_s(10_000) == LONGEST_WAIT_S


def test_a_node_that_waits_says_until_when() -> None:
    tried = {A: [NOW - 500, NOW - 10]}
    (found,) = judged([wish(A)], [node("one", A, tried=tried)], NOW)
    (stand,) = found.stands
    assert (stand.standing, stand.until) == (Standing.WAITING, NOW - 10 + 2 * FIRST_WAIT_S)


def test_every_standing_is_told_in_a_sentence() -> None:
    assert set(SENTENCES) == set(Standing)


class Simulated:
    """One node that holds so many models, looked at once a minute, and clients with ideas."""

    def __init__(self, capacity: int, wanted: dict[str, int]) -> None:
        self.now = NOW
        self.loads: dict[str, list[float]] = {name: [] for name in wanted}
        self.pushed_out_kept = 0
        self._wishes = [wish(name, copies) for name, copies in wanted.items()]
        self._capacity = capacity
        self._held: list[LoadedModel] = []
        self._was: list[LoadedModel] = []
        self._memory = Memory()

    def minute(self, event: str, model: str) -> None:
        self.now += 60.0
        if event == "restart":
            self._held = []
        elif event in {"use", "unload"}:
            self._held = [each for each in self._held if each.canonical != model]
        if event == "use":
            self._load(model, keep_alive_s=300.0)
        self._memory = memory_take(self._memory, self._was, self._held, self.now)
        self._was = list(self._held)
        view = node("one", A, B, C, memory=self._memory, tried=self.loads)
        view = replace(view, loaded=tuple(self._held))
        for each, _ in chosen(judged(self._wishes, [view], self.now)):
            self.loads[each.canonical].append(self.now)
            self._load_by_policy(each.canonical)

    def _load_by_policy(self, model: str) -> None:
        for victim in self._load(model, keep_alive_s=86_400.0):
            idle_s = self.now - self._memory.used[victim.digest]
            assert idle_s >= LATELY_S, "a model in use was pushed out"
            self.pushed_out_kept += victim.canonical in self.loads

    def _load(self, model: str, keep_alive_s: float) -> list[LoadedModel]:
        keep = self._held[-(self._capacity - 1) :] if self._capacity > 1 else []
        gone = [each for each in self._held if each not in keep]
        self._held = [*keep, loaded(model, 8 * GB, self.now - NOW + keep_alive_s)]
        return gone


@settings(deadline=None)
@given(
    capacity=some.integers(1, 3),
    wanted=some.dictionaries(some.sampled_from([A, B, C]), some.integers(1, 2), min_size=1),
    events=some.lists(
        some.tuples(
            some.sampled_from(["use", "unload", "restart", "rest"]),
            some.sampled_from([A, B, C, "library/d"]),
        ),
        min_size=1,
        max_size=150,
    ),
)
def test_whatever_clients_do_loads_are_bounded_and_nothing_in_use_is_pushed_out(
    capacity: int, wanted: dict[str, int], events: list[tuple[str, str]]
) -> None:
    simulated = Simulated(capacity, wanted)
    for event, model in events:
        simulated.minute(event, model)
    assert simulated.now - NOW < HISTORY_S
    for times in simulated.loads.values():
        gaps = [later - earlier for earlier, later in pairwise(times)]
        assert all(gap >= next_wait_s(count) for count, gap in enumerate(gaps, 1))
        assert len(times) <= 7 + len(events) * 60 / LONGEST_WAIT_S
    # What is seen of a try is believed; unless the node was emptied before anybody looked.
    emptied = sum(event in {"restart", "unload", "use"} for event, _ in events)
    assert simulated.pushed_out_kept <= capacity + emptied


def test_two_kept_models_that_do_not_fit_together_are_tried_once() -> None:
    simulated = Simulated(1, {A: 1, B: 1})
    for _ in range(24 * 60 - 1):
        simulated.minute("rest", A)
    assert simulated.pushed_out_kept == 1
    assert sum(map(len, simulated.loads.values())) == 2
