"""The score functions, and the latency they go by."""

import pytest
from fakes.snapshots import make_snapshot

from data_plane.routing.pools import Pools
from data_plane.routing.strategies import SCORES, least_active, lowest_latency, smoothed
from shared.snapshot import Strategy


def node(weight=1.0):
    snapshot = make_snapshot({"alpha": []}, fields={"alpha": {"weight": weight}})
    return Pools.build(snapshot).nodes["alpha"]


def test_every_strategy_has_its_score():
    assert set(SCORES) == set(Strategy)


def test_more_active_requests_score_worse():
    assert least_active(node(), 1, None) < least_active(node(), 2, None)


def test_a_node_of_twice_the_weight_carries_twice_as_much_for_the_same_score():
    assert least_active(node(2.0), 3, None) == least_active(node(1.0), 1, None)


def test_of_two_idle_nodes_the_stronger_is_better():
    assert least_active(node(2.0), 0, None) < least_active(node(1.0), 0, None)


def test_latency_is_its_own_score_and_may_be_unknown():
    assert lowest_latency(node(), 9, 0.25) == 0.25
    assert lowest_latency(node(), 0, None) is None


def test_the_first_sample_is_the_latency():
    assert smoothed(None, 0.4) == 0.4


def test_one_outlier_moves_the_latency_by_less_than_a_third():
    assert smoothed(0.1, 1.1) == pytest.approx(0.4)


def test_after_some_samples_the_old_value_is_forgotten():
    latency_s = 1.0
    for _ in range(20):
        latency_s = smoothed(latency_s, 0.1)
    assert latency_s == pytest.approx(0.1, abs=0.01)
