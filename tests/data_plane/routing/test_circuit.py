"""What an instance sees of a node with its own eyes."""

import pytest

from data_plane.routing.circuit import (
    FIRST_PAUSE_S,
    JITTER,
    MAX_PAUSE_S,
    STEADY_S,
    TRANSITIONS,
    Circuits,
    Event,
    State,
)


class Eyes:
    """Circuits with a clock that stands still unless told, dice that show zero, fall 3, rise 2."""

    def __init__(self, roll=0.0):
        self.circuits = Circuits()
        self.now = 1_000.0
        self.roll = roll

    def broken(self):
        return self.circuits.connection_failed("n", self.now, lambda: self.roll, "refused")

    def bad(self):
        return self.circuits.probe_failed(
            "n", self.now, lambda: self.roll, fall=3, reason="timeout"
        )

    def good(self):
        return self.circuits.probe_succeeded("n", self.now, rise=2)

    @property
    def is_down(self):
        return "n" in self.circuits.down

    def pause(self):
        return self.circuits.next_due() - self.now


@pytest.fixture
def eyes():
    return Eyes()


def test_the_table_knows_every_event_in_every_state():
    assert set(TRANSITIONS) == {(state, event) for state in State for event in Event}


def test_a_node_that_nothing_was_seen_of_is_usable(eyes):
    assert not eyes.is_down
    assert eyes.circuits.next_due() is None
    assert eyes.circuits.due(eyes.now) == []


def test_a_broken_connection_moves_a_node_to_standby_at_once(eyes):
    assert eyes.broken() is True
    assert eyes.is_down
    assert eyes.circuits.reasons == {"n": "refused"}


def test_failed_probes_need_to_come_in_a_row(eyes):
    assert [eyes.bad(), eyes.bad(), eyes.bad()] == [False, False, True]
    assert eyes.circuits.reasons == {"n": "timeout"}


@pytest.mark.parametrize("between", ["good", "answered"])
def test_a_good_sign_between_failed_probes_starts_the_count_again(eyes, between):
    eyes.bad()
    eyes.bad()
    if between == "good":
        eyes.good()
    else:
        eyes.circuits.answered("n")
    assert eyes.bad() is False
    assert not eyes.is_down


def test_one_good_probe_is_not_enough_to_come_back(eyes):
    eyes.broken()
    assert eyes.good() is False
    assert eyes.is_down


def test_enough_good_probes_bring_a_node_back(eyes):
    eyes.broken()
    assert [eyes.good(), eyes.good()] == [False, True]
    assert not eyes.is_down
    assert eyes.circuits.reasons == {}
    assert eyes.circuits.due(eyes.now + 100) == []


def test_a_failure_between_good_probes_starts_their_count_again(eyes):
    eyes.broken()
    eyes.good()
    eyes.bad()
    assert eyes.good() is False
    assert eyes.good() is True


def test_a_late_answer_does_not_bring_a_node_back(eyes):
    eyes.broken()
    eyes.circuits.answered("n")
    assert eyes.is_down


def test_good_news_of_an_unknown_node_changes_nothing(eyes):
    assert eyes.good() is False
    eyes.circuits.answered("n")
    assert not eyes.is_down


def test_the_first_probe_is_due_after_half_a_second(eyes):
    eyes.broken()
    assert eyes.circuits.due(eyes.now + FIRST_PAUSE_S - 0.01) == []
    assert eyes.circuits.due(eyes.now + FIRST_PAUSE_S) == ["n"]


def test_pauses_double_up_to_a_limit(eyes):
    eyes.broken()
    pauses = [eyes.pause()]
    for _ in range(8):
        eyes.now = eyes.circuits.next_due()
        eyes.bad()
        pauses.append(eyes.pause())
    assert pauses == pytest.approx([0.5, 1, 2, 4, 8, 16, 30, 30, 30])


def test_the_dice_shorten_a_pause():
    eyes = Eyes(roll=0.999999)
    eyes.broken()
    assert eyes.pause() == pytest.approx(FIRST_PAUSE_S * (1 - JITTER), rel=0.01)


def test_after_a_good_probe_the_next_one_comes_soon(eyes):
    eyes.broken()
    for _ in range(8):
        eyes.bad()
    assert eyes.pause() == MAX_PAUSE_S
    eyes.good()
    assert eyes.pause() == FIRST_PAUSE_S


def test_many_requests_broken_together_are_one_event(eyes):
    eyes.broken()
    first = eyes.pause()
    assert [eyes.broken() for _ in range(20)] == [False] * 20
    assert eyes.pause() == first


def test_a_node_that_flaps_is_probed_ever_more_rarely(eyes):
    pauses = []
    for _ in range(4):
        eyes.broken()
        pauses.append(eyes.pause())
        eyes.good()
        eyes.good()
        eyes.now += 3.0
    assert pauses == pytest.approx([0.5, 1, 2, 4])


def test_a_node_that_stayed_good_for_long_starts_with_the_first_pause(eyes):
    for _ in range(3):
        eyes.broken()
        eyes.bad()
        eyes.good()
        eyes.good()
    eyes.now += STEADY_S + 1
    eyes.broken()
    assert eyes.pause() == FIRST_PAUSE_S


def test_nodes_that_are_gone_are_forgotten(eyes):
    eyes.broken()
    eyes.circuits.keep({"other"})
    assert (eyes.circuits.down, eyes.circuits.reasons) == (set(), {})
    assert eyes.circuits.next_due() is None


def test_nodes_that_are_still_there_are_kept(eyes):
    eyes.broken()
    eyes.circuits.keep({"n", "other"})
    assert eyes.is_down


def test_nodes_do_not_share_their_state(eyes):
    eyes.broken()
    eyes.circuits.connection_failed("m", eyes.now + 9, lambda: 0.0, "reset")
    assert eyes.circuits.down == {"n", "m"}
    assert eyes.circuits.due(eyes.now + 1) == ["n"]
