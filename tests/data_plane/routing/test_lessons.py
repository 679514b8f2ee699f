"""What a finished request teaches."""

from math import log

import pytest

from data_plane.routing.events import Arrival, Finished
from data_plane.routing.learning import Learned
from data_plane.routing.lessons import learn
from data_plane.routing.place import Flight


def flight_of(**more):
    flight = Flight(Arrival(canonical="m", prompt_tokens=400), "a", "m", 10.0)
    flight.tokens, flight.ttft_s, flight.first_at = 400.0, 1.0, 11.0
    for name, value in more.items():
        setattr(flight, name, value)
    return flight


def said(**more):
    usual = {
        "load_s": 0.01,
        "prompt_tokens": 800,
        "prompt_s": 0.4,
        "eval_tokens": 100,
        "eval_s": 2.0,
        "total_s": 2.41,
    }
    return Finished(**{**usual, **more})


def learned_from(flight, finished):
    learned = Learned()
    learn(learned, flight, finished, 14.0)
    return learned, learned.pair("a", "m")


def test_speeds_come_from_the_record() -> None:
    learned, pair = learned_from(flight_of(), said())
    assert pair.prefill == [2_000.0]
    assert pair.steps == [0.02]
    assert learned.of_model("m").factor == pytest.approx(1.5)  # half way from the guess to 2


def test_a_cached_prompt_says_nothing_of_speed_unless_the_node_says_how_much() -> None:
    _, pair = learned_from(flight_of(hit=0.5), said())
    assert pair.prefill == []
    _, pair = learned_from(flight_of(hit=0.5), said(cached_tokens=400, prompt_s=0.2))
    assert pair.prefill == [2_000.0]
    assert pair.trust == 1.0


def test_hits_that_turn_out_to_be_none_are_trusted_less() -> None:
    flight = flight_of(hit=0.8)
    _, pair = learned_from(flight, said(cached_tokens=0))
    assert pair.trust == pytest.approx(0.95)
    assert flight.found == 0.0


def test_between_others_a_slow_reading_is_no_sign_of_a_missed_hit() -> None:
    for was_alone, trust in ((True, 0.95), (False, 1.0)):
        learned, pair = learned_from(flight_of(), said())
        learn(learned, flight_of(hit=0.8, was_alone=was_alone), said(prompt_s=60.0), 14.0)
        assert pair.trust == pytest.approx(trust)


def test_an_unexpected_hit_is_no_speed() -> None:
    _, pair = learned_from(flight_of(common=(0.9, 12)), said())
    assert pair.prefill == []


def test_a_load_is_learned_when_nothing_was_before_it() -> None:
    _, pair = learned_from(flight_of(is_cold=True), said(load_s=7.0))
    assert pair.load_s == 7.0
    _, pair = learned_from(flight_of(is_cold=True, was_alone=False), said(load_s=7.0))
    assert pair.load_s is None
    _, pair = learned_from(flight_of(), said(load_s=7.0))
    assert pair.load_s is None


def test_the_wait_for_a_slot_is_what_the_record_leaves_out() -> None:
    learned, pair = learned_from(flight_of(ahead=2), said())
    assert pair.slots() == (3, False)
    learn(learned, flight_of(ahead=3), said(total_s=9.0), 14.0)
    assert pair.slots() == (3, True)


def test_without_durations_slots_are_counted_by_answers_that_are_written_together() -> None:
    silent = Finished(prompt_tokens=800, eval_tokens=100)
    learned, pair = learned_from(flight_of(ahead=2, beside=2, first_at=11.2), silent)
    assert pair.slots() == (3, False)
    learn(learned, flight_of(ahead=3, beside=1, first_at=11.3), silent, 14.0)
    assert pair.slots() == (3, False)  # hardly late, so nobody knows whether it waited
    learn(learned, flight_of(ahead=3, beside=2, first_at=14.0), silent, 18.0)
    assert pair.slots() == (3, True)  # it began after one of three had ended
    learn(learned, flight_of(ahead=3, beside=3, first_at=14.0), silent, 18.0)
    learn(learned, flight_of(ahead=3, beside=3, first_at=11.0), silent, 18.0)
    assert pair.slots()[0] == 4


def test_without_durations_the_first_byte_tells_of_a_hit() -> None:
    silent = Finished(prompt_tokens=800, eval_tokens=100)
    learned, pair = learned_from(flight_of(), silent)
    assert pair.prefill == [800.0]
    flight = flight_of(hit=0.8, first_at=10.25)
    learn(learned, flight, silent, 14.0)
    assert flight.found == pytest.approx(0.75)
    assert pair.trust == pytest.approx(1.0 - 0.05 * (1.0 - 0.75 / 0.8))


def test_an_answer_without_durations_is_timed() -> None:
    bare = Finished(prompt_tokens=800, eval_tokens=100)
    _, pair = learned_from(flight_of(), bare)
    assert pair.prefill == [800.0]
    assert pair.steps == [0.03]
    _, pair = learned_from(flight_of(was_alone=False), bare)
    assert pair.prefill == []


def test_the_first_byte_is_measured_without_the_wait_that_was_foreseen() -> None:
    _, pair = learned_from(flight_of(wait_s=0.75), said())
    assert pair.first_byte_s == pytest.approx(0.25)


def test_the_error_of_the_prediction_is_told() -> None:
    assert learn(Learned(), flight_of(ttft_s=0.5), said(), 14.0) == pytest.approx(log(2.0))
    assert learn(Learned(), flight_of(first_at=None), said(), 14.0) is None


def test_what_is_not_streamed_shows_no_first_token_but_its_record_does() -> None:
    whole = Arrival(canonical="m", prompt_tokens=400, is_streamed=False)
    flight = flight_of(arrival=whole, first_at=14.0)
    learned = Learned()

    error = learn(learned, flight, said(), 14.0)

    assert error == pytest.approx(log(0.41 / 1.0))
    assert learned.pair("a", "m").first_byte_s == pytest.approx(0.41)
    assert learn(learned, flight, Finished(prompt_tokens=800, eval_tokens=100), 14.0) is None


def test_an_answer_that_shows_nothing_but_its_length_is_timed_as_a_whole() -> None:
    whole = Arrival(canonical="m", prompt_tokens=400, is_streamed=False)
    _, pair = learned_from(
        flight_of(arrival=whole, first_at=14.0), Finished(prompt_tokens=800, eval_tokens=100)
    )
    assert pair.prefill == []
    assert pair.steps == [0.03]


def test_the_first_answers_count_as_much_as_the_guess() -> None:
    learned = Learned()
    for _ in range(3):
        learn(learned, flight_of(), said(eval_tokens=10), 14.0)
    assert learned.of_model("m").output == pytest.approx((150 + 3 * 10) / 4)
