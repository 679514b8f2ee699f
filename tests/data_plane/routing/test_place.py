"""One node as its shadow holds it."""

import pytest

from data_plane.routing.events import Arrival
from data_plane.routing.place import RATE_S, Flight, Place, Runner

EIGHT_K = '{"num_ctx":8192}'


def place_with(*runners):
    place = Place("a")
    place.runners = {runner.key: runner for runner in runners}
    return place


def runner_of(key, size_bytes=4_000.0, *, flights=0, ready_at=0.0):
    runner = Runner(key, size_bytes, ready_at)
    for ticket in range(flights):
        runner.flights[ticket] = Flight(Arrival(canonical=key), "a", key, 0.0)
    return runner


def test_idle_models_leave_before_busy_ones_and_only_as_many_as_needed() -> None:
    place = place_with(runner_of("b", flights=1), runner_of("c"), runner_of("d"))
    place.room.shows({"b": 4_000.0, "c": 4_000.0, "d": 4_000.0}, is_loading=False)
    assert [runner.key for runner in place.victims("new", 4_000)] == ["c"]
    assert [runner.key for runner in place.victims("new", 12_000)] == ["c", "d", "b"]


def test_a_model_does_not_leave_for_itself() -> None:
    place = place_with(runner_of("b"))
    place.room.shows({"b": 4_000.0}, is_loading=False)
    assert place.victims("b", 4_000) == []


@pytest.mark.parametrize(
    ("loaded_with", "context_length", "asked", "fits"),
    [
        ("", 4_096, "", True),
        ("", 4_096, EIGHT_K, False),
        (EIGHT_K, 8_192, EIGHT_K, True),
        (EIGHT_K, 8_192, "", False),
        (None, 4_096, "", True),  # it was there before we looked
        (None, 8_192, EIGHT_K, True),
        (None, 4_096, EIGHT_K, False),
    ],
)
def test_a_request_with_the_options_of_the_load_needs_no_other(
    loaded_with, context_length, asked, fits
) -> None:
    runner = runner_of("b")
    runner.options_key, runner.context_length = loaded_with, context_length
    assert runner.fits(asked) is fits
    runner.is_leaving = True
    assert not runner.fits(asked)


def test_loads_are_done_one_after_another() -> None:
    place = place_with(runner_of("b", ready_at=3.0), runner_of("c", ready_at=9.0))
    assert place.loader_free_s(2.0) == 7.0
    assert place.loader_free_s(9.0) == 0.0
    assert Place("empty").loader_free_s(2.0) == 0.0


def test_requests_of_long_ago_count_no_more() -> None:
    place = Place("a")
    for second in range(900):
        place.arrived(float(second))
    assert place.per_second(899.0) == pytest.approx(1.0, rel=0.02)
    assert place.per_second(899.0 + 10 * RATE_S) < 1e-4
