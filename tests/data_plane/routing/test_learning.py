"""How fast nodes are, and what is guessed until it is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.learning import (
    OPTIMISM,
    PRIOR_CROWDING,
    PRIOR_PREFILL,
    PRIOR_STEP,
    REMEMBERED,
    WINDOW,
    Habits,
    Learned,
    Pair,
    moved,
    quantile,
    thinned,
)

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


def test_the_first_sample_is_the_mean() -> None:
    assert moved(None, 4.0, 0.1) == 4.0
    assert moved(2.0, 4.0, 0.5) == 3.0


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


@given(
    slots=st.integers(1, 8),
    asked=st.lists(st.integers(0, 12), min_size=8, max_size=30),
)
def test_slots_are_never_taken_to_be_other_than_proved(slots, asked) -> None:
    pair = Pair()
    for ahead in asked:
        pair.saw_queue(ahead, 0.0 if ahead < slots else 1.0)
    found, is_bounded = pair.slots()
    assert found >= max([ahead + 1 for ahead in asked if ahead < slots], default=1)
    assert is_bounded is any(ahead >= slots for ahead in asked)
    if is_bounded:
        assert found <= min(ahead for ahead in asked if ahead >= slots)


def test_one_lie_does_not_change_the_slots() -> None:
    pair = Pair()
    for ahead in (3, 3, 4, 4, 3, 4):
        pair.saw_queue(ahead, 0.0 if ahead < 4 else 2.0)
    pair.saw_queue(1, 9.0)  # held up by somebody else's requests
    assert pair.slots() == (4, True)


def test_what_the_operator_says_bounds_what_was_not_seen() -> None:
    learned = Learned()
    assert (rates(learned, told=4.0).slots, rates(learned, told=4.0).is_bounded) == (4, True)


def test_crowding_is_learned_from_answers_written_together() -> None:
    pair = Pair()
    for _ in range(30):
        pair.saw_steps(0.01, 1.0)
        pair.saw_steps(0.01 * (1 + 0.5 * 3), 4.0)
    assert pair.crowding == pytest.approx(0.5, rel=0.3)


def test_a_node_that_has_changed_is_soon_known_anew() -> None:
    pair = Pair()
    for _ in range(WINDOW):
        pair.saw_prefill(1_000.0)
    for _ in range(4):
        pair.saw_error(4.0, 1.0)
    assert len(pair.prefill) == WINDOW // 2
    pair.saw_error(4.0, 1.0)
    pair.saw_error(1.0, 1.0)
    assert len(pair.prefill) == WINDOW // 2


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


def test_a_restart_keeps_few_samples_that_stand_for_all() -> None:
    assert thinned([3.0, 1.0]) == [3.0, 1.0]
    kept = thinned([float(number) for number in range(WINDOW)])
    assert (len(kept), kept[0], kept[-1]) == (REMEMBERED, 0.0, WINDOW - 1.0)


def test_what_was_written_down_is_read_again() -> None:
    learned, again = Learned(), Learned()
    taught(learned, "a", "small", 800.0, 0.05)
    learned.of_model("small").output = 44.0
    again.load(learned.dump())
    assert rates(again) == rates(learned)
    assert again.of_model("small").output == 44.0


def test_requests_that_were_held_do_not_make_the_bound_be_forgotten() -> None:
    pair = Pair()
    pair.saw_queue(4, 1.0)
    for _ in range(100):
        pair.saw_queue(3, 0.0)
    assert pair.slots() == (4, True)


def test_a_bound_that_was_wrong_is_lifted_by_what_finds_a_slot_beyond_it() -> None:
    pair = Pair()
    for _ in range(10):
        pair.saw_queue(1, 0.0)
        pair.saw_queue(2, 1.0)
    assert pair.slots() == (2, True)
    for _ in range(4):
        pair.saw_queue(2, 0.0)
    assert pair.slots()[0] == 3
