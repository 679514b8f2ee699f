"""Who is believed, and until when."""

from hypothesis import given
from hypothesis import strategies as st

from data_plane.sync.others import Others
from shared import keys
from shared.flights import Flights
from shared.reports import NodeReport, Report

TTL_S = keys.FLIGHTS_TTL_S


def report(count: int, at: float = 0.0, renewed_s: float = 1.0) -> Report:
    return Report(
        instance="i",
        version="1",
        host="h",
        pid=1,
        started_at=0.0,
        reported_at=at,
        epoch="e",
        revision=1,
        ready=True,
        draining=False,
        requests_total=0,
        nodes={"n": NodeReport(active_count=count)},
        renewed_s=renewed_s,
    )


def flights(count: int, turn: int = 1, life: str = "l") -> Flights:
    return Flights(life=life, turn=turn, nodes=("n",), active=(count,))


def test_counts_come_from_flights_where_there_are_some_else_from_reports() -> None:
    others = Others()
    others.heard({"a": report(2)}, {"b": flights(3)}, 0.0)
    assert others.counts() == {"n": 5}
    assert set(others.flights()) == {"b"}


def test_mates_are_heard_and_not_counted() -> None:
    others = Others(frozenset({"g.1", "g.2"}))
    assert others.are_there
    others.heard({}, {"g.2": flights(3), "b": flights(1)}, 0.0)
    assert others.counts() == {"n": 1}
    assert set(others.flights()) == {"g.2", "b"}


def test_who_is_not_found_any_more_is_gone() -> None:
    others = Others()
    others.heard({"a": report(2)}, {"b": flights(3)}, 0.0)
    others.heard({}, {}, 0.1)
    assert not others.are_there
    assert (others.counts(), others.flights()) == ({}, {})


def test_what_does_not_change_is_believed_for_three_seconds() -> None:
    others = Others()
    for now in (0.0, 1.0, 2.0, float(TTL_S)):
        others.heard({"a": report(2)}, {"b": flights(3)}, now)
        others.forget_silent(now)
        assert others.counts() == {"n": 5}
    others.heard({"a": report(2)}, {"b": flights(3)}, TTL_S + 0.1)
    others.forget_silent(TTL_S + 0.1)
    assert (others.counts(), others.flights()) == ({}, {})
    others.heard({"a": report(2, at=1.0)}, {"b": flights(3, turn=2)}, TTL_S + 0.2)
    others.forget_silent(TTL_S + 0.2)
    assert others.counts() == {"n": 5}


def test_while_redis_is_silent_what_was_heard_is_forgotten_all_the_same() -> None:
    others = Others()
    others.heard({"a": report(2)}, {"b": flights(3)}, 0.0)
    others.forget_silent(TTL_S + 0.1)
    assert not others.are_there
    assert (others.counts(), others.flights()) == ({}, {})


def test_an_instance_that_reports_more_rarely_is_believed_for_longer() -> None:
    others = Others()
    others.heard({"older": report(2, renewed_s=5.0)}, {}, 0.0)
    others.forget_silent(14.9)
    assert others.counts() == {"n": 2}
    others.forget_silent(15.1)
    assert others.counts() == {}


def test_a_dead_instance_does_not_live_on_by_its_last_report() -> None:
    """Its flights expire first, and its report is looked at then."""
    others = Others()
    others.heard({}, {"a": flights(3)}, 0.0)
    others.heard({"a": report(3)}, {}, TTL_S - 0.1)
    others.forget_silent(TTL_S - 0.1)
    assert others.counts() == {"n": 3}
    others.heard({"a": report(3)}, {}, TTL_S + 0.1)
    others.forget_silent(TTL_S + 0.1)
    assert others.counts() == {}
    others.heard({"a": report(1, at=9.0)}, {}, TTL_S + 0.2)  # it was only mute
    others.forget_silent(TTL_S + 0.2)
    assert others.counts() == {"n": 1}


def test_a_new_life_is_news_though_its_turn_is_the_same() -> None:
    others = Others()
    others.heard({}, {"a": flights(3)}, 0.0)
    others.heard({}, {"a": flights(1, life="next")}, 2.0)
    others.forget_silent(TTL_S + 1.0)
    assert others.counts() == {"n": 1}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "read", "expire"]),
        st.sampled_from(["a", "b", "c"]),
        st.integers(0, 9),
        st.floats(0.0, 1.5),
    ),
    max_size=60,
)


@given(STEPS)
def test_in_any_order_the_sum_is_that_of_all_that_were_heard_of_lately(steps) -> None:
    """Whoever was written to have changed within a second is counted; whoever was not for longer
    than is believed is not.
    """
    others, now = Others(), 0.0
    redis: dict[str, tuple[int, bool, int, float]] = {}
    turns = 0
    for kind, name, count, pause_s in steps:
        now += pause_s
        if kind == "write":
            turns += 1
            redis[name] = turns, name != "c", count, now
        elif kind == "expire":
            redis.pop(name, None)
        else:
            others.heard(
                {
                    each: report(number, at=float(turn))
                    for each, (turn, with_flights, number, _) in redis.items()
                    if not with_flights
                },
                {
                    each: flights(number, turn=turn)
                    for each, (turn, with_flights, number, _) in redis.items()
                    if with_flights
                },
                now,
            )
            others.forget_silent(now)
            least = sum(number for *_, number, at in redis.values() if now - at <= 1.0)
            most = sum(number for _, _, number, _ in redis.values())
            assert least <= others.counts().get("n", 0) <= most
            assert sum(each.active[0] for each in others.flights().values()) <= most
    others.forget_silent(now + TTL_S + 0.1)
    assert others.counts() == {}
