"""How much one key may ask of nodes."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as some

from data_plane.admission.limits import WAIT_MAX_S, KeyLimits, OverLimitError, is_limited
from shared.snapshot import ApiKey


def key(**limits):
    return ApiKey(id=limits.pop("id", "k"), sha256="0" * 64, **limits)


class Clock:
    def __init__(self):
        self.now = 50.0
        self.limits = KeyLimits(lambda: self.now)


@pytest.fixture
def clock():
    return Clock()


@pytest.mark.parametrize(
    ("limits", "limited"),
    [
        ({}, False),
        ({"max_active": 1}, True),
        ({"requests_per_minute": 1}, True),
        ({"priority": 5}, False),
    ],
)
def test_keys_without_limits_are_not_counted(limits, limited):
    assert is_limited(key(**limits)) is limited


def test_so_many_at_once_and_no_more(clock):
    two = key(max_active=2)
    places = [clock.limits.enter(two) for _ in range(2)]
    with pytest.raises(OverLimitError, match="2 requests under way") as refused:
        clock.limits.enter(two)
    assert 1 <= refused.value.wait_s <= WAIT_MAX_S
    places[0].release()
    places[0].release()  # once is all
    clock.limits.enter(two)
    with pytest.raises(OverLimitError):
        clock.limits.enter(two)
    clock.limits.enter(key(id="another", max_active=1))


def test_a_minutes_requests_may_come_at_once_and_then_one_by_one(clock):
    ten = key(requests_per_minute=10)
    for _ in range(10):
        clock.limits.enter(ten).release()
    with pytest.raises(OverLimitError, match="10 requests a minute") as refused:
        clock.limits.enter(ten)
    assert refused.value.wait_s == 6
    clock.now += 5.5
    with pytest.raises(OverLimitError) as refused:
        clock.limits.enter(ten)
    assert refused.value.wait_s == 1
    clock.now += 0.5
    clock.limits.enter(ten)
    with pytest.raises(OverLimitError) as refused:
        clock.limits.enter(ten)
    assert refused.value.wait_s == 6


def test_who_waits_as_long_as_it_is_told_gets_in(clock):
    for limit in (1, 7, 59, 60, 61, 1_000):
        limited = key(id=f"k{limit}", requests_per_minute=limit)
        for _ in range(limit):
            clock.limits.enter(limited)
        with pytest.raises(OverLimitError) as refused:
            clock.limits.enter(limited)
        clock.now += refused.value.wait_s
        clock.limits.enter(limited)


def test_a_bucket_never_holds_more_than_a_minutes_requests(clock):
    three = key(requests_per_minute=3)
    clock.limits.enter(three)
    clock.now += 86_400.0
    for _ in range(3):
        clock.limits.enter(three)
    with pytest.raises(OverLimitError):
        clock.limits.enter(three)


def test_who_is_refused_for_being_too_many_at_once_keeps_what_is_in_the_bucket(clock):
    both = key(max_active=1, requests_per_minute=2)
    first = clock.limits.enter(both)
    for _ in range(20):
        with pytest.raises(OverLimitError, match="1 request under way"):
            clock.limits.enter(both)
    first.release()
    clock.limits.enter(both)


def test_a_limit_that_is_set_later_begins_with_a_full_bucket(clock):
    clock.limits.enter(key(max_active=9))
    for _ in range(4):
        clock.limits.enter(key(max_active=9, requests_per_minute=4))
    with pytest.raises(OverLimitError):
        clock.limits.enter(key(max_active=9, requests_per_minute=4))


@pytest.mark.parametrize("limits", [{"max_active": 0}, {"requests_per_minute": 0}])
def test_none_at_all_is_a_limit_too(clock, limits):
    with pytest.raises(OverLimitError) as refused:
        clock.limits.enter(key(**limits))
    assert refused.value.wait_s >= 1


def test_keys_that_are_no_more_are_forgotten_with_their_last_request(clock):
    place = clock.limits.enter(key(max_active=1))
    clock.limits.keep(set())
    assert clock.limits.active_count("k") == 1
    place.release()
    clock.limits.keep(set())
    clock.limits.enter(key(max_active=1))


@given(
    limit=some.integers(1, 200),
    most=some.integers(1, 5),
    steps=some.lists(some.tuples(some.booleans(), some.floats(0.0, 20.0)), max_size=80),
)
def test_never_more_than_either_limit(limit, most, steps):
    clock = Clock()
    limited = key(max_active=most, requests_per_minute=limit)
    began_at, admitted, places = clock.now, 0, []
    for enters, passed in steps:
        clock.now += passed
        if enters:
            with contextlib.suppress(OverLimitError):
                places.append(clock.limits.enter(limited))
                admitted += 1
        elif places:
            places.pop().release()
        assert clock.limits.active_count("k") == len(places) <= most
        assert admitted <= limit + (clock.now - began_at) * limit / 60.0 + 1e-6
