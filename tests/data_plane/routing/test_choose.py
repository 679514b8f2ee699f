"""Which node answers, and why."""

import random
from collections import Counter
from itertools import cycle

import pytest
from fakes.snapshots import make_model, make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.choose import Choice, choose
from data_plane.routing.events import NoNode, NoNodeKind, Reason
from data_plane.routing.pools import Pools
from shared.model_names import canonical_name
from shared.snapshot import Strategy

LLAMA3 = canonical_name("llama3")
THREE = {"alpha": ["llama3"], "beta": ["llama3"], "gamma": ["llama3"]}
OLD = make_model("llama3", digest="a" * 64)
NEW = make_model("llama3", digest="b" * 64)


def chosen(
    holdings=THREE,
    strategy=Strategy.LEAST_ACTIVE,
    *,
    loads=None,
    latencies=None,
    dice=lambda: 0.5,
    model=LLAMA3,
    snapshot=None,
    **more,
):
    pools = Pools.build(make_snapshot(holdings, **(snapshot or {})))
    return choose(
        pools, model, strategy, loads=loads or {}, latencies=latencies or {}, dice=dice, **more
    )


def shares(rounds=6_000, **more):
    dice = random.Random(7).random  # noqa: S311 - dice that fall the same way each time
    pools = Pools.build(make_snapshot(more.pop("holdings", THREE), **more.pop("snapshot", {})))
    strategy = more.pop("strategy", Strategy.LEAST_ACTIVE)
    more = {"loads": {}, "latencies": {}, **more}
    counts = Counter(
        choose(pools, LLAMA3, strategy, dice=dice, **more).node.name for _ in range(rounds)
    )
    return {name: round(count / rounds, 1) for name, count in counts.items()}


def test_the_node_with_the_fewest_active_requests_is_chosen():
    decision = chosen(loads={"alpha": 2, "beta": 1, "gamma": 3})
    assert (decision.node.name, decision.reason, decision.candidates) == (
        "beta",
        Reason.LEAST_ACTIVE,
        3,
    )


def test_a_node_without_a_count_is_idle():
    assert chosen(loads={"alpha": 1, "gamma": 1}).node.name == "beta"


def test_equals_share_fairly():
    assert shares(loads={"gamma": 1}) == {"alpha": 0.5, "beta": 0.5}


def test_many_idle_nodes_have_the_same_chance():
    holdings = {f"n{index}": ["llama3"] for index in range(20)}
    dice = random.Random(3).random  # noqa: S311 - as above
    pools = Pools.build(make_snapshot(holdings))
    counts = Counter(
        choose(pools, LLAMA3, Strategy.LEAST_ACTIVE, loads={}, latencies={}, dice=dice).node.name
        for _ in range(20_000)
    )
    assert len(counts) == 20
    assert max(counts.values()) < 1.25 * min(counts.values())


def test_weights_share_the_load_in_proportion():
    pools = Pools.build(make_snapshot(THREE, fields={"alpha": {"weight": 4.0}}))
    loads = Counter()
    dice = cycle([0.1, 0.6, 0.9]).__next__
    for _ in range(60):
        decision = choose(
            pools, LLAMA3, Strategy.LEAST_ACTIVE, loads=loads, latencies={}, dice=dice
        )
        loads[decision.node.id] += 1
    assert loads == {"alpha": 40, "beta": 10, "gamma": 10}


def test_the_node_with_the_lowest_latency_is_chosen():
    decision = chosen(
        strategy=Strategy.LOWEST_LATENCY,
        latencies={"alpha": 0.02, "beta": 0.01, "gamma": 0.03},
        loads={"beta": 5},
    )
    assert (decision.node.name, decision.reason) == ("beta", Reason.LOWEST_LATENCY)


def test_nodes_of_unknown_latency_get_the_same_chance_as_the_best():
    got = shares(strategy=Strategy.LOWEST_LATENCY, latencies={"alpha": 0.01})
    assert got == {"alpha": 0.3, "beta": 0.3, "gamma": 0.3}


def test_when_no_latency_is_known_all_share():
    assert shares(strategy=Strategy.LOWEST_LATENCY) == {"alpha": 0.3, "beta": 0.3, "gamma": 0.3}


def test_an_unknown_node_says_that_it_is_being_tried():
    decision = chosen({"alpha": ["llama3"]}, Strategy.LOWEST_LATENCY)
    assert decision.reason is Reason.UNKNOWN_LATENCY


FULL = {"fields": {"alpha": {"max_parallel": 1}, "beta": {"max_parallel": 1}}}


@pytest.mark.parametrize("strategy", list(Strategy))
def test_a_full_node_is_passed_over_while_another_has_room(strategy):
    decision = chosen(
        strategy=strategy,
        loads={"alpha": 1, "beta": 1, "gamma": 9},
        latencies={"alpha": 0.01, "beta": 0.01, "gamma": 5.0},
        snapshot=FULL,
    )
    assert decision.node.name == "gamma"


@pytest.mark.parametrize("latencies", [{}, {"alpha": 0.01, "beta": 0.02}])
@pytest.mark.parametrize("strategy", list(Strategy))
def test_when_all_are_full_one_is_chosen_all_the_same(strategy, latencies):
    decision = chosen(
        {"alpha": ["llama3"], "beta": ["llama3"]},
        strategy,
        loads={"alpha": 1, "beta": 2},
        latencies=latencies,
        snapshot=FULL,
    )
    assert decision.reason is Reason.ALL_FULL


def test_of_full_nodes_the_least_full_is_chosen():
    loads = {"alpha": 3, "beta": 2}
    got = chosen({"alpha": ["llama3"], "beta": ["llama3"]}, loads=loads, snapshot=FULL)
    assert got.node.name == "beta"


def test_only_holders_of_the_model_are_candidates():
    decision = chosen({"alpha": ["mistral"], "beta": ["llama3"]}, loads={"beta": 9})
    assert (decision.node.name, decision.reason) == ("beta", Reason.ONLY)


def test_nodes_that_were_tried_are_not_tried_again():
    assert chosen(excluded={"alpha", "gamma"}).node.name == "beta"


def test_nodes_seen_failing_are_passed_over():
    assert chosen(down={"alpha", "gamma"}).node.name == "beta"


def test_a_model_that_nobody_holds_is_unknown():
    got = chosen(model=canonical_name("mistral"))
    assert got == NoNode(NoNodeKind.UNKNOWN_MODEL)


def test_a_model_of_disabled_nodes_is_unknown():
    got = chosen({"alpha": ["llama3"]}, snapshot={"disabled": ["alpha"]}, panic=True)
    assert got == NoNode(NoNodeKind.UNKNOWN_MODEL)


@pytest.mark.parametrize("by", ["down", "excluded"])
def test_a_model_whose_holders_cannot_be_used_has_no_node(by):
    got = chosen(**{by: {"alpha", "beta", "gamma"}}, panic=True)
    assert got == NoNode(NoNodeKind.NO_NODE, only_verdicts=False)


ALL_UNHEALTHY = {"unhealthy": ["alpha", "beta", "gamma"]}


def test_when_only_verdicts_keep_the_holders_out_it_is_said():
    assert chosen(snapshot=ALL_UNHEALTHY) == NoNode(NoNodeKind.NO_NODE, only_verdicts=True)


def test_in_panic_verdicts_do_not_count():
    decision = chosen(snapshot=ALL_UNHEALTHY, loads={"alpha": 1, "gamma": 1}, panic=True)
    assert (decision.node.name, decision.reason) == ("beta", Reason.PANIC)


def test_in_panic_own_eyes_do_count():
    decision = chosen(snapshot=ALL_UNHEALTHY, down={"alpha", "beta"}, panic=True)
    assert decision.node.name == "gamma"
    assert chosen(snapshot=ALL_UNHEALTHY, down={"alpha", "beta", "gamma"}, panic=True) == NoNode(
        NoNodeKind.NO_NODE
    )


def test_panic_changes_nothing_while_an_active_node_is_there():
    decision = chosen(snapshot={"unhealthy": ["alpha", "beta"]}, loads={"gamma": 50}, panic=True)
    assert (decision.node.name, decision.reason) == ("gamma", Reason.ONLY)


DRIFTED = {"alpha": [OLD], "beta": [OLD], "gamma": [NEW]}


def test_a_copy_of_another_version_is_left_alone():
    decision = chosen(DRIFTED, loads={"alpha": 7, "beta": 8})
    assert decision.node.name == "alpha"


def test_a_copy_of_another_version_helps_out_when_no_other_can():
    decision = chosen(DRIFTED, down={"alpha", "beta"})
    assert (decision.node.name, decision.reason) == ("gamma", Reason.DRIFTED)


def test_vectors_of_another_version_do_not_help_out():
    got = chosen(DRIFTED, down={"alpha", "beta"}, same_digest=True)
    assert got == NoNode(NoNodeKind.NO_NODE)


NAMES = ["alpha", "beta", "gamma"]


@given(
    loads=st.dictionaries(st.sampled_from(NAMES), st.integers(0, 5)),
    latencies=st.dictionaries(st.sampled_from(NAMES), st.floats(0.0, 10.0)),
    excluded=st.sets(st.sampled_from(NAMES)),
    down=st.sets(st.sampled_from(NAMES)),
    unhealthy=st.sets(st.sampled_from(NAMES)),
    strategy=st.sampled_from(list(Strategy)),
    panic=st.booleans(),
    roll=st.floats(0.0, 1.0, exclude_max=True),
)
def test_whatever_is_known_a_choice_is_allowed_and_never_missing(
    *, loads, latencies, excluded, down, unhealthy, strategy, panic, roll
):
    got = chosen(
        strategy=strategy,
        loads=loads,
        latencies=latencies,
        excluded=excluded,
        down=down,
        dice=lambda: roll,
        snapshot={"unhealthy": sorted(unhealthy)},
        panic=panic,
    )
    usable = set(NAMES) - excluded - down
    active = usable - unhealthy
    if isinstance(got, Choice):
        assert got.node.name in (active or usable)
        assert got.candidates == len(active or usable)
    else:
        assert not active
        assert got.only_verdicts is bool(usable)
        assert not (panic and usable)


def thousand(down=frozenset(), rounds=1_500):
    holdings = {f"n{number}": ["llama3"] for number in range(1_000)}
    pools = Pools.build(make_snapshot(holdings))
    dice = random.Random(3).random  # noqa: S311 - dice that fall the same way each time
    loads: dict[str, float] = {}
    for _ in range(rounds):
        decision = choose(
            pools,
            LLAMA3,
            Strategy.LEAST_ACTIVE,
            loads=loads,
            latencies={},
            dice=dice,
            down={node_id for node_id, node in pools.nodes.items() if node.name in down},
        )
        loads[decision.node.id] = loads.get(decision.node.id, 0) + 1
    return decision, [loads.get(node_id, 0) for node_id in pools.nodes]


def test_of_a_thousand_holders_all_are_looked_at_and_loads_stay_even():
    decision, loads = thousand(rounds=1_500)
    assert decision.candidates == 1_000
    assert max(loads) - min(loads) <= 1


def test_of_equals_those_that_have_the_model_in_memory_come_first():
    assert shares(loaded={"beta", "gamma"}, loads={"gamma": 1}) == {"beta": 1.0}
    assert shares(loaded={"beta", "gamma"}) == {"beta": 0.5, "gamma": 0.5}


def test_a_model_in_memory_does_not_outweigh_a_request_more():
    assert chosen(loads={"alpha": 1, "beta": 1}, loaded={"alpha"}).node.name == "gamma"


def test_of_a_thousand_holders_the_only_usable_one_is_found():
    decision, _ = thousand(down={f"n{number}" for number in range(1, 1_000)}, rounds=3)
    assert (decision.node.name, decision.reason) == ("n0", Reason.ONLY)
