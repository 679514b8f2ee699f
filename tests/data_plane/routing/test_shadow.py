"""What each node is taken to be doing."""

from fakes.snapshots import make_loaded

from data_plane.routing.events import Arrival
from data_plane.routing.place import Flight
from data_plane.routing.shadow import LOAD_PATIENCE_S, Shadow


def flight_of(key="m", options_key="", **more):
    flight = Flight(Arrival(canonical=key, options_key=options_key), "a", key, more.pop("now", 0.0))
    flight.ttft_s, flight.decode_s, flight.work_s = 1.0, 9.0, 10.0
    flight.left_s, flight.write_s = 10.0, 9.0
    for name, value in more.items():
        setattr(flight, name, value)
    return flight


def seen(shadow, *keys, node_id="a", now=0.0, context_length=4_096, size=6_000):
    loaded = make_loaded("x", context_length=context_length, size_vram_bytes=size)
    return shadow.seen(node_id, [(key, loaded) for key in keys], now)


def test_what_a_node_says_is_in_its_memory_is() -> None:
    shadow = Shadow()
    assert seen(shadow, "m", "n") == ["m", "n"]
    assert seen(shadow, "m") == ["n"]
    assert shadow.holding("m") == {"a"}
    assert shadow.holding("n") == set()


def test_a_request_for_what_is_not_there_is_a_load() -> None:
    shadow = Shadow()
    flight = flight_of(load_s=5.0)
    shadow.sent(1, flight, 6_000, 0.0)
    assert flight.is_cold
    assert shadow.place("a").loader_free_s(1.0) == 4.0
    seen(shadow, now=2.0)  # not listed before it is spawned
    assert shadow.holding("m") == {"a"}
    shadow.first_byte(1, 3.0)
    assert shadow.place("a").loader_free_s(3.0) == 0.0


def test_other_options_are_a_reload_and_empty_the_cache() -> None:
    shadow = Shadow()
    seen(shadow, "m")
    usual = flight_of()
    shadow.sent(1, usual, 6_000, 0.0)
    other = flight_of(options_key='{"num_ctx":8192}')
    shadow.sent(2, other, 6_000, 1.0)
    assert (usual.is_cold, other.is_cold) == (False, True)


def test_a_context_that_is_there_already_is_none() -> None:
    shadow = Shadow()
    seen(shadow, "m", context_length=8_192)
    flight = flight_of(options_key='{"num_ctx":8192}')
    shadow.sent(1, flight, 6_000, 0.0)
    assert not flight.is_cold


def test_a_busy_model_that_has_to_leave_goes_when_its_last_request_ends() -> None:
    shadow = Shadow()
    seen(shadow, "b")
    shadow.sent(1, flight_of("b"), 6_000, 0.0)
    shadow.sent(2, flight_of("m"), 6_000, 0.0)
    assert not shadow.place("a").runners["b"].fits("")
    shadow.ended(1, 5.0)
    assert shadow.holding("b") == set()


def test_a_load_that_hangs_is_found_once_and_forgiven_when_the_model_is_there() -> None:
    shadow = Shadow()
    shadow.sent(1, flight_of(load_s=5.0), 6_000, 0.0)
    assert shadow.watch(LOAD_PATIENCE_S - 1) == []
    assert shadow.watch(LOAD_PATIENCE_S + 1) == [("a", "m")]
    assert shadow.watch(LOAD_PATIENCE_S + 2) == []
    seen(shadow, "m")
    assert shadow.place("a").hanging == set()


def test_everything_ends_once() -> None:
    shadow = Shadow()
    flight = flight_of()
    shadow.sent(1, flight, 6_000, 0.0)
    assert shadow.place("a").backlog_s == 10.0
    assert shadow.ended(1, 1.0) is flight
    assert shadow.ended(1, 2.0) is None
    assert (shadow.place("a").active, shadow.place("a").backlog_s) == (0, 0.0)


def test_what_an_answer_has_left_is_the_same_however_far_it_has_come() -> None:
    shadow = Shadow()
    shadow.sent(1, flight_of(), 6_000, 0.0)
    runner = shadow.place("a").runners["m"]
    assert (runner.left_s, shadow.place("a").backlog_s) == (10.0, 10.0)
    shadow.first_byte(1, 1.0)
    assert (runner.left_s, shadow.place("a").backlog_s) == (9.0, 9.0)
    shadow.sent(2, flight_of(now=50.0), 6_000, 50.0)
    assert (runner.left_s, shadow.place("a").backlog_s) == (19.0, 19.0)


def test_who_has_a_model_is_as_busy_as_what_comes_takes_of_all_their_time() -> None:
    shadow = Shadow()
    for name in ("b", "c"):
        seen(shadow, "m", node_id=name)
    assert shadow.busy("m", 0.0) == 0.0
    for second in range(90):
        shadow.sent(second, flight_of(now=float(second)), 6_000, float(second))
        shadow.ended(second, float(second))
    assert 6.0 / 3 < shadow.busy("m", 90.0) < 10.0 / 3
    assert shadow.busy("other", 90.0) == 0.0


def test_a_node_that_is_no_more_is_forgotten_with_its_requests_still_ending() -> None:
    shadow = Shadow()
    shadow.sent(1, flight_of(), 6_000, 0.0)
    shadow.keep(frozenset())
    assert shadow.holding("m") == set()
    shadow.first_byte(1, 1.0)
    assert shadow.ended(1, 1.0) is not None


WHOLE = Arrival(canonical="m", is_streamed=False)


def test_an_answer_that_is_not_streamed_is_taken_to_begin_when_it_should() -> None:
    shadow = Shadow()
    seen(shadow, "m")
    shadow.sent(1, flight_of(arrival=WHOLE, uncached=300.0), 6_000, 0.0)
    shadow.sent(2, flight_of(uncached=200.0), 6_000, 0.0)
    runner = shadow.place("a").runners["m"]

    shadow.presume(0.5)
    assert (runner.decoding, runner.unread) == (0, 500.0)
    shadow.presume(1.5)
    assert (runner.decoding, runner.unread) == (1, 200.0)  # the other one would be seen

    shadow.first_byte(1, 8.0)
    shadow.ended(1, 8.0)
    shadow.ended(2, 8.0)
    assert (runner.decoding, runner.unread) == (0, 0.0)


def test_a_long_answer_that_is_not_streamed_is_no_load_that_hangs() -> None:
    shadow = Shadow()
    flight = flight_of(arrival=WHOLE, load_s=5.0, decode_s=60.0)
    shadow.sent(1, flight, 6_000, 0.0)
    shadow.presume(10.0)
    assert shadow.watch(2 * LOAD_PATIENCE_S) == []
    assert shadow.watch(6 * LOAD_PATIENCE_S) == [("a", "m")]
