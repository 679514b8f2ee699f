"""How fast nodes are, and what is guessed until it is known."""

import pytest

from data_plane.routing.learning import (
    OPTIMISM,
    PRIOR_PREFILL,
    PRIOR_STEP,
    Habits,
    Learned,
)
from data_plane.routing.pair import PRIOR_CROWDING, WINDOW, quantile

SIZES = {"small": 1e9, "large": 4e9}
UNTOLD = float("inf")


def rates(learned, node_id="a", key="small", told=UNTOLD):
    return learned.rates(node_id, key, SIZES, told)


def taught(learned, node_id, key, prefill, step):
    pair = learned.pair(node_id, key)
    pair.count += 1
    pair.saw_prefill(prefill)
    pair.saw_steps(step, 1.0)
    learned.changed(node_id, key)


def test_what_nobody_knows_is_guessed_from_the_size() -> None:
    guessed = rates(Learned())
    assert guessed.prefill == PRIOR_PREFILL / 1e9
    assert guessed.step_s == PRIOR_STEP * 1e9
    assert guessed.crowding == PRIOR_CROWDING
    assert (guessed.slots, guessed.is_bounded, guessed.first_byte_s) == (1, False, None)


def test_a_node_with_another_model_tells_of_this_one_by_size() -> None:
    learned = Learned()
    taught(learned, "a", "large", 500.0, 0.08)
    assert rates(learned).prefill == pytest.approx(2_000.0)
    assert rates(learned).step_s == pytest.approx(0.02)


def test_the_model_on_other_nodes_tells_of_this_node_with_hope() -> None:
    learned = Learned()
    taught(learned, "b", "small", 800.0, 0.05)
    assert rates(learned).prefill == pytest.approx(800.0 * OPTIMISM)
    assert rates(learned).step_s == pytest.approx(0.05 / OPTIMISM)


def test_what_was_measured_beats_every_guess() -> None:
    learned = Learned()
    taught(learned, "b", "small", 800.0, 0.05)
    taught(learned, "a", "large", 500.0, 0.08)
    taught(learned, "a", "small", 123.0, 0.009)
    assert (rates(learned).prefill, rates(learned).step_s) == (123.0, 0.009)


def test_one_answer_more_is_seen_at_once() -> None:
    learned = Learned()
    for sample in range(1, 40):
        taught(learned, "a", "small", float(sample), 0.01)
        expected = sorted(range(max(1, sample - WINDOW + 1), sample + 1))
        assert rates(learned).prefill == quantile(expected, 0.8)


def test_what_the_operator_says_bounds_what_was_not_seen() -> None:
    learned = Learned()
    assert (rates(learned, told=4.0).slots, rates(learned, told=4.0).is_bounded) == (4, True)


def test_what_is_no_more_is_forgotten() -> None:
    learned = Learned()
    taught(learned, "a", "small", 800.0, 0.05)
    taught(learned, "b", "large", 800.0, 0.05)
    learned.of_model("large")
    learned.keep(frozenset({"b"}), {"small": 1e9})
    assert learned.pairs == {"b": {}}
    assert not learned.habits


def test_arrivals_of_long_ago_count_no_more() -> None:
    habits = Habits()
    for second in range(90):
        habits.arrived(float(second))
    assert habits.per_second(89.0) == pytest.approx(0.63, abs=0.1)
    assert habits.per_second(2_000.0) < 1e-6


def test_what_was_written_down_is_read_again() -> None:
    learned, again = Learned(), Learned()
    taught(learned, "a", "small", 800.0, 0.05)
    learned.of_model("small").output = 44.0
    again.load(learned.dump())
    assert rates(again) == rates(learned)
    assert again.of_model("small").output == 44.0
