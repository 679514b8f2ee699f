"""A further copy ahead of need: when it pays, where, and that it never thrashes."""

import random
from itertools import pairwise

import msgspec
from fakes.snapshots import make_loaded, make_model, make_snapshot
from hypothesis import given, settings
from hypothesis import strategies as st

from data_plane.routing.events import Arrival, Finished
from data_plane.routing.policy import Policy
from data_plane.routing.pools import Pools
from data_plane.routing.preload import KEPT_S
from shared.model_names import canonical_name
from shared.snapshot import ProxyConfig, Strategy

GB = 1_000_000_000
SIZES = {"llama3": 8 * GB, "qwen3": 8 * GB}


def policy_of(nodes, *, loaded, room=10 * GB):
    """`loaded` says which model each node has in memory, `room` how much fits into it."""
    models = [make_model(name, size_bytes=size) for name, size in SIZES.items()]
    snapshot = make_snapshot(dict.fromkeys(nodes, models))
    policy = Policy(random.Random(7).random)  # noqa: S311 - the same in every run
    policy.use(
        Pools.build(
            msgspec.structs.replace(snapshot, config=ProxyConfig(strategy=Strategy.PREDICTED))
        ),
        0.0,
    )
    for node in nodes:
        policy._shadow.place(node).room.held_bytes = float(room)
        see(policy, node, loaded.get(node), 0.0)
    return policy


def see(policy, node, model, now):
    held = [] if model is None else [make_loaded(model, size_bytes=8 * GB, size_vram_bytes=8 * GB)]
    policy.ps_seen(node, held, now)


def arrival(model="llama3"):
    return Arrival(
        canonical=canonical_name(model), digest=make_model(model).digest, prompt_tokens=600
    )


def load(policy, preload, now):
    """It is begun, and ends as predicted."""
    ticket = policy.sent(preload.arrival, preload.node.id, now)
    return ticket, now + preload.load_s


LATER = 10 * KEPT_S


def test_a_long_wait_pays_for_a_load_and_a_short_one_does_not() -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3"})
    found = policy.preload(arrival(), 100, 60.0, LATER)
    assert found is not None
    assert found.node.id == "b"
    assert found.load_s < 60.0
    assert found.saved_s > 0.0
    assert policy.preload(arrival(), 100, found.load_s * 0.9, LATER) is None
    assert policy.preload(arrival(), 2, found.load_s * 1.1, LATER) is None


def test_what_is_saved_grows_with_the_queue() -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3"})
    saved = [policy.preload(arrival(), n, 0.6 * n, LATER).saved_s for n in (50, 100, 200)]
    assert saved == sorted(saved)


def test_nothing_is_loaded_while_the_model_is_being_loaded_somewhere() -> None:
    policy = policy_of(["a", "b", "c"], loaded={"a": "llama3"})
    found = policy.preload(arrival(), 100, 60.0, LATER)
    ticket, there_at = load(policy, found, LATER)
    assert policy.preload(arrival(), 100, 60.0, LATER + 1.0) is None
    policy.first_byte(ticket, there_at)
    policy.finished(ticket, Finished(load_s=found.load_s), there_at)
    third = policy.preload(arrival(), 100, 60.0, there_at + 0.1)
    assert third is not None
    assert third.node.id not in {"a", found.node.id}


def test_a_load_that_failed_leaves_no_copy_behind() -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3"})
    found = policy.preload(arrival(), 100, 60.0, LATER)
    ticket, _ = load(policy, found, LATER)
    policy.load_failed(ticket, LATER + 1.0)
    assert policy.preload(arrival(), 100, 60.0, LATER + 1.0) is not None
    assert policy.preload(arrival(), 100, 60.0, LATER, excluded={"b"}) is None


def test_a_busy_node_is_left_alone() -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3", "b": "qwen3"}, room=20 * GB)
    ticket = policy.sent(arrival("qwen3"), "b", LATER)
    assert policy.preload(arrival(), 100, 60.0, LATER + 1.0) is None
    policy.finished(ticket, Finished(), LATER + 2.0)
    assert policy.preload(arrival(), 100, 60.0, LATER + 2.0) is not None


def test_what_was_in_use_a_moment_ago_does_not_make_room() -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3", "b": "qwen3"})
    ticket = policy.sent(arrival("qwen3"), "b", LATER)
    policy.finished(ticket, Finished(), LATER + 1.0)
    assert policy.preload(arrival(), 100, 60.0, LATER + KEPT_S) is None
    assert policy.preload(arrival(), 100, 60.0, LATER + 1.0 + KEPT_S) is not None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(sorted(SIZES)), st.integers(1, 500), st.floats(0.1, 600.0)),
        min_size=1,
        max_size=200,
    )
)
def test_two_models_that_are_both_waited_for_do_not_drive_each_other_out(asked) -> None:
    policy = policy_of(["a", "b"], loaded={"a": "llama3", "b": "qwen3"})
    now, loads = LATER, []
    for model, held, wait_s in asked:
        now += 1.0
        for name, node in (("llama3", "a"), ("qwen3", "b")):  # each copy is in use
            policy.finished(policy.sent(arrival(name), node, now), Finished(), now + 0.5)
        found = policy.preload(arrival(model), held, wait_s, now + 0.6)
        if found is not None:
            loads.append(found)
    assert not loads


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=300))
def test_a_node_is_not_loaded_anew_more_often_than_once_in_a_while(asked) -> None:
    policy = policy_of(["a", "b", "c"], loaded={"a": "llama3", "b": "qwen3"})
    now, begun = LATER, []
    for model in asked:
        now += 5.0
        for name, node in (("llama3", "a"), ("qwen3", "b")):
            policy.finished(policy.sent(arrival(name), node, now), Finished(), now + 0.5)
        found = policy.preload(arrival(model), 300, 300.0, now + 0.6)
        if found is not None:
            assert found.node.id == "c"
            begun.append(now)
            ticket, there_at = load(policy, found, now)
            policy.first_byte(ticket, there_at)
            policy.finished(ticket, Finished(load_s=found.load_s), there_at)
            now = there_at
    assert begun
    assert all(later - earlier >= KEPT_S for earlier, later in pairwise(begun))
