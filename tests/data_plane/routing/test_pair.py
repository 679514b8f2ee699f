"""What answers teach of one node with one model."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.routing.pair import REMEMBERED, WINDOW, Pair, moved, thinned


def test_the_first_sample_is_the_mean() -> None:
    assert moved(None, 4.0, 0.1) == 4.0
    assert moved(2.0, 4.0, 0.5) == 3.0


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


def test_a_restart_keeps_few_samples_that_stand_for_all() -> None:
    assert thinned([3.0, 1.0]) == [3.0, 1.0]
    kept = thinned([float(number) for number in range(WINDOW)])
    assert (len(kept), kept[0], kept[-1]) == (REMEMBERED, 0.0, WINDOW - 1.0)


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
