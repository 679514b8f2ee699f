"""What an instance sees of one model at one node."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from data_plane.routing.circuit import JITTER, STEADY_S
from data_plane.routing.model_circuit import (
    FAILURES_IN_A_ROW,
    FIRST_PAUSE_S,
    MAX_PAUSE_S,
    ModelCircuits,
)


class Eyes:
    """Circuits with a clock that stands still unless told, and dice that show zero."""

    def __init__(self):
        self.circuits = ModelCircuits()
        self.now = 1_000.0

    def fail(self, node="n", model="m", *, certain=False):
        return self.circuits.failed(
            node, model, self.now, lambda: 0.0, reason="it broke", is_certain=certain
        )

    def answer(self, node="n", model="m"):
        return self.circuits.answered(node, model, self.now)

    def try_it(self, node="n", model="m"):
        self.circuits.tried(node, model, self.now, lambda: 0.0)

    def avoided(self, model="m"):
        return set(self.circuits.avoided(model, self.now))


@pytest.fixture
def eyes():
    return Eyes()


def test_nothing_is_kept_of_a_healthy_cluster(eyes):
    assert eyes.answer() is False
    assert not eyes.circuits.open
    assert not eyes.circuits.pairs
    assert eyes.avoided() == set()


def test_one_crash_may_be_the_requests_own_fault(eyes):
    assert [eyes.fail() for _ in range(FAILURES_IN_A_ROW)] == [False, False, True]
    assert eyes.avoided() == {"n"}
    assert eyes.circuits.reasons() == {("n", "m"): "it broke"}


def test_a_whole_answer_between_them_starts_the_count_again(eyes):
    for _ in range(FAILURES_IN_A_ROW - 1):
        eyes.fail()
    eyes.answer()
    assert not eyes.circuits.pairs
    for _ in range(FAILURES_IN_A_ROW - 1):
        assert eyes.fail() is False
    assert eyes.avoided() == set()


def test_certain_evidence_needs_no_second(eyes):
    assert eyes.fail(certain=True) is True
    assert eyes.avoided() == {"n"}


def test_the_nodes_other_models_and_the_models_other_nodes_are_not_concerned(eyes):
    eyes.fail("n", "m", certain=True)
    assert eyes.avoided("another") == set()
    assert eyes.circuits.open == {"m": {"n"}}


def test_requests_that_were_under_way_fail_without_making_it_worse(eyes):
    eyes.fail(certain=True)
    for _ in range(50):
        assert eyes.fail(certain=True) is False
    eyes.now += FIRST_PAUSE_S
    assert eyes.avoided() == set()


def test_when_the_pause_is_over_one_request_is_let_through(eyes):
    eyes.fail(certain=True)
    eyes.now += FIRST_PAUSE_S
    assert eyes.avoided() == set()
    eyes.try_it()
    assert eyes.avoided() == {"n"}
    eyes.now += FIRST_PAUSE_S * 2
    assert eyes.avoided() == set()


def test_a_request_that_had_no_other_node_changes_nothing(eyes):
    eyes.fail(certain=True)
    eyes.try_it()
    eyes.now += FIRST_PAUSE_S
    assert eyes.avoided() == set()


def test_pauses_double_to_a_limit(eyes):
    eyes.fail(certain=True)
    pauses = []
    for _ in range(9):
        began_at = eyes.now
        while eyes.avoided():
            eyes.now += 0.5
        pauses.append(eyes.now - began_at)
        eyes.try_it()
        eyes.fail(certain=True)
    assert pauses[:4] == [1.0, 2.0, 4.0, 8.0]
    assert pauses[-1] == MAX_PAUSE_S


def test_the_dice_shorten_a_pause(eyes):
    eyes.circuits.failed("n", "m", eyes.now, lambda: 1.0, reason="", is_certain=True)
    eyes.now += FIRST_PAUSE_S * (1.0 - JITTER)
    assert eyes.avoided() == set()


def test_a_whole_answer_closes_the_circuit_even_within_the_pause(eyes):
    eyes.fail(certain=True)
    assert eyes.answer() is True
    assert eyes.avoided() == set()
    assert not eyes.circuits.open


def test_one_that_flaps_keeps_the_pause_it_had_reached(eyes):
    eyes.fail(certain=True)
    eyes.now += FIRST_PAUSE_S
    eyes.try_it()
    eyes.answer()
    eyes.fail(certain=True)
    eyes.now += FIRST_PAUSE_S * 2
    assert eyes.avoided() == {"n"}


def test_one_that_was_steady_begins_with_the_first_pause_and_is_forgotten_by_its_answers(eyes):
    eyes.fail(certain=True)
    eyes.now += FIRST_PAUSE_S
    eyes.try_it()
    eyes.answer()
    eyes.now += STEADY_S + 1.0
    eyes.answer()
    assert not eyes.circuits.pairs
    eyes.fail(certain=True)
    eyes.now += FIRST_PAUSE_S
    assert eyes.avoided() == set()


def test_a_node_that_was_started_anew_begins_anew_with_every_model(eyes):
    for model in ("m", "k"):
        eyes.fail("n", model, certain=True)
        eyes.fail("other", model, certain=True)
    eyes.circuits.forget("n")
    assert eyes.circuits.open == {"m": {"other"}, "k": {"other"}}


def test_what_a_snapshot_no_longer_names_is_forgotten(eyes):
    for node in ("n", "gone"):
        for model in ("m", "gone"):
            eyes.fail(node, model, certain=True)
    eyes.circuits.keep({"n"}, {"m"})
    assert eyes.circuits.open == {"m": {"n"}}
    assert set(eyes.circuits.pairs) == {("n", "m")}


STEPS = some.lists(
    some.tuples(
        some.sampled_from(["fail", "certain", "answer", "try", "forget", "wait"]),
        some.sampled_from(["a", "b"]),
        some.sampled_from(["m", "k"]),
        some.floats(0.0, 100.0),
    ),
    max_size=80,
)


@given(STEPS)
def test_whatever_happens_only_open_pairs_are_avoided_and_none_for_longer_than_the_limit(steps):
    eyes = Eyes()
    for step, node, model, seconds in steps:
        match step:
            case "wait":
                eyes.now += seconds
            case "answer":
                eyes.answer(node, model)
                assert node not in eyes.circuits.open.get(model, ())
            case "try":
                eyes.try_it(node, model)
            case "forget":
                eyes.circuits.forget(node)
            case _:
                eyes.fail(node, model, certain=step == "certain")
        pairs = eyes.circuits.pairs
        is_open = {key for key, pair in pairs.items() if pair.is_open}
        assert is_open == {(n, m) for m, nodes in eyes.circuits.open.items() for n in nodes}
        for name in ("m", "k"):
            assert {(n, name) for n in eyes.avoided(name)} <= is_open
    eyes.now += MAX_PAUSE_S
    assert eyes.avoided("m") == eyes.avoided("k") == set()
