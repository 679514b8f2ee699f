"""A node that comes back gets its share by and by."""

import random
from collections import Counter

import msgspec
import pytest
from fakes.snapshots import make_snapshot
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.events import Arrival, Reason
from data_plane.routing.policy import Policy
from data_plane.routing.pools import Pools
from data_plane.routing.slow_start import LEAST_SHARE, WINDOW_S, SlowStart
from shared.model_names import canonical_name
from shared.snapshot import ProxyConfig, Strategy

LLAMA3 = canonical_name("llama3")
NAMES = ["alpha", "beta", "gamma"]


def pools_of(*names, away=(), strategy=Strategy.LEAST_ACTIVE):
    snapshot = make_snapshot({name: ["llama3"] for name in names}, unhealthy=away)
    return Pools.build(msgspec.structs.replace(snapshot, config=ProxyConfig(strategy=strategy)))


class Start:
    """A slow start that notes whose share has changed."""

    def __init__(self):
        self.changed = []
        self.slow = SlowStart(self.changed.append)


@pytest.fixture
def start():
    return Start()


def test_whoever_is_there_from_the_beginning_begins_with_all(start):
    start.slow.use(pools_of(*NAMES), 0.0)
    assert start.slow.shares == {}
    assert start.changed == []


def test_a_new_node_and_one_that_the_sweep_has_let_back_begin_slowly(start):
    start.slow.use(pools_of("alpha", "beta", away=["beta"]), 0.0)
    start.slow.use(pools_of(*NAMES), 1.0)
    assert start.slow.shares == {"beta": LEAST_SHARE, "gamma": LEAST_SHARE}
    assert sorted(start.changed) == ["beta", "gamma"]


def test_a_snapshot_that_changes_nothing_there_begins_nothing_anew(start):
    start.slow.use(pools_of("alpha"), 0.0)
    start.slow.use(pools_of("alpha", "beta"), 0.0)
    start.slow.tick(5.0)
    start.slow.use(pools_of("alpha", "beta"), 5.0)
    assert start.slow.shares == {"beta": 0.5}


def test_shares_rise_to_all(start):
    start.slow.begin("alpha", 100.0)
    seen = []
    for second in range(12):
        start.slow.tick(100.0 + second)
        seen.append(round(start.slow.shares.get("alpha", 1.0), 3))
    assert seen == [0.1, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.0]
    assert start.slow.shares == {}


def test_one_that_leaves_meanwhile_is_forgotten(start):
    start.slow.use(pools_of(*NAMES), 0.0)
    start.slow.begin("beta", 0.0)
    start.slow.use(pools_of("alpha", "gamma"), 1.0)
    assert start.slow.shares == {}


def test_without_a_window_everything_comes_at_once():
    slow = SlowStart([].append, 0.0)
    slow.begin("alpha", 0.0)
    assert slow.shares == {}


def test_one_that_returns_again_begins_again(start):
    start.slow.begin("beta", 0.0)
    start.slow.tick(9.0)
    start.slow.begin("beta", 9.0)
    assert start.slow.shares == {"beta": LEAST_SHARE}


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["begin", "tick", "use", "lose"]),
            st.sampled_from(NAMES),
            st.floats(0.0, 15.0),
        ),
        max_size=40,
    )
)
def test_whatever_happens_shares_are_parts_and_end(steps) -> None:
    noted, now = Start(), 0.0
    noted.slow.use(pools_of(*NAMES), now)
    before = {}
    for what, name, passed in steps:
        now += passed
        match what:
            case "begin":
                noted.slow.begin(name, now)
            case "tick":
                noted.slow.tick(now)
            case "use":
                noted.slow.use(pools_of(*NAMES), now)
            case "lose":
                noted.slow.use(pools_of(*(set(NAMES) - {name})), now)
        shares = dict(noted.slow.shares)
        assert all(LEAST_SHARE <= share < 1.0 for share in shares.values())
        differ = {each for each in NAMES if shares.get(each) != before.get(each)}
        assert differ <= set(noted.changed)
        noted.changed.clear()
        before = shares
    noted.slow.tick(now + WINDOW_S)
    assert noted.slow.shares == {}


def policy_of(seed, **latencies):
    dice = random.Random(seed).random  # noqa: S311 - the same in every run
    return Policy(dice, latencies={**dict.fromkeys(NAMES, 0.01), **latencies})


def asked(policy, now, quick):
    """A request under way to the node that is chosen."""
    pools = policy._pools
    choice = policy.quick(pools, LLAMA3, frozenset()) if quick else None
    if choice is None:
        choice = policy.choose(Arrival(canonical=LLAMA3, prompt_tokens=600), now)
    policy.sent(Arrival(canonical=LLAMA3, prompt_tokens=600), choice.node.id, now)
    return choice


def under_load(strategy, *, quick=False, count=90):
    """Of so many requests at once, those that the node gets that is on the way back, by second."""
    counts = []
    for second in range(int(WINDOW_S) + 1):
        policy = policy_of(second)
        policy.use(pools_of(*NAMES, strategy=strategy), 0.0)
        policy.slow_start.begin("gamma", 0.0)
        policy.tick(float(second))
        got = Counter(asked(policy, float(second), quick).node.name for _ in range(count))
        counts.append(got["gamma"])
    return counts


@pytest.mark.parametrize("quick", [True, False])
def test_least_active_gives_it_more_from_second_to_second(quick) -> None:
    """Of 90 requests on three nodes, 90 x share / (2 + share), and 30 in the end."""
    counts = under_load(Strategy.LEAST_ACTIVE, quick=quick)
    for second, got in enumerate(counts):
        share = max(LEAST_SHARE, second / WINDOW_S)
        assert abs(got - 90 * share / (2 + share)) <= 1.0, (second, got)
    assert counts[0] == 4
    assert counts[-1] == 30


def test_predicted_gives_it_more_from_second_to_second() -> None:
    counts = under_load(Strategy.PREDICTED)
    for second, got in enumerate(counts):
        share = max(LEAST_SHARE, second / WINDOW_S)
        assert abs(got - 90 * share / (2 + share)) <= 2.0, (second, got)


def test_lowest_latency_takes_it_for_further_away_than_it_is() -> None:
    policy = policy_of(1, gamma=0.002)
    policy.use(pools_of(*NAMES, strategy=Strategy.LOWEST_LATENCY), 0.0)
    policy.slow_start.begin("gamma", 0.0)
    assert policy.choose(Arrival(canonical=LLAMA3), 0.0).node.name != "gamma"
    policy.tick(WINDOW_S)
    assert policy.choose(Arrival(canonical=LLAMA3), WINDOW_S).node.name == "gamma"


@pytest.mark.parametrize("strategy", list(Strategy))
def test_the_only_holder_gets_everything_at_once(strategy) -> None:
    policy = policy_of(1)
    policy.use(pools_of("alpha", strategy=strategy), 0.0)
    policy.slow_start.begin("alpha", 0.0)
    for _ in range(20):
        choice = asked(policy, 0.0, quick=True)
        assert (choice.node.name, choice.reason) == ("alpha", Reason.ONLY)


def test_when_the_others_are_down_it_gets_everything_at_once() -> None:
    policy = policy_of(1)
    policy.use(pools_of(*NAMES), 0.0)
    policy.slow_start.begin("gamma", 0.0)
    for _ in range(20):
        choice = policy.choose(Arrival(canonical=LLAMA3), 0.0, down={"alpha", "beta"})
        assert choice.node.name == "gamma"


def test_those_that_come_back_together_share_evenly() -> None:
    policy = policy_of(1)
    policy.use(pools_of("alpha", away=["alpha"]), 0.0)
    policy.use(pools_of(*NAMES), 0.0)
    got = Counter(asked(policy, 0.0, quick=True).node.name for _ in range(90))
    assert got == {"alpha": 30, "beta": 30, "gamma": 30}


def test_nothing_is_held_back_from_holders_that_are_all_on_the_way_back() -> None:
    policy = policy_of(1)
    policy.use(pools_of(*NAMES, strategy=Strategy.PREDICTED), 0.0)
    for name in NAMES:
        policy.slow_start.begin(name, 0.0)
    choice = policy.choose(Arrival(canonical=LLAMA3, prompt_tokens=600), 0.0, may_hold=True)
    assert choice.node.name in NAMES
