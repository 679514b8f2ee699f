"""The bound on password checks."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from control_plane.accounts import throttle
from control_plane.accounts.errors import ThrottledError
from control_plane.accounts.throttle import Buckets, network_of, password_check


def test_a_burst_is_let_through_and_then_a_trickle() -> None:
    buckets = Buckets(burst=3, per_second=0.5, max_addresses=10)
    for _ in range(3):
        buckets.take("10.0.0.1", 100.0)
    with pytest.raises(ThrottledError) as refused:
        buckets.take("10.0.0.1", 100.0)
    assert refused.value.headers == {"Retry-After": "2"}
    buckets.take("10.0.0.1", 102.0)
    with pytest.raises(ThrottledError):
        buckets.take("10.0.0.1", 102.0)
    buckets.take("10.0.0.2", 102.0)


def test_the_number_of_addresses_remembered_is_bounded() -> None:
    buckets = Buckets(burst=1, per_second=0.01, max_addresses=3)
    for i in range(100):
        buckets.take(f"10.0.0.{i}", 0.0)
    assert len(buckets._levels) == 3


def test_one_ipv6_network_is_one_party() -> None:
    assert network_of("2001:db8::1") == network_of("2001:db8::2")
    assert network_of("2001:db8::1") != network_of("2001:db8:0:1::1")
    assert network_of("10.0.0.1") != network_of("10.0.0.2")
    assert network_of("") == ""


def test_c32_no_more_passwords_are_checked_at_the_same_time_than_there_are_places(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From many addresses, each within its own bound: the processor is what is kept."""
    monkeypatch.setattr(throttle, "WAIT_S", 0.01)
    with ExitStack() as checks:
        for place in range(throttle.AT_ONCE):
            checks.enter_context(password_check(f"10.0.1.{place}"))
        with pytest.raises(ThrottledError) as refused, password_check("10.0.2.1"):
            pytest.fail("one too many is checked")
        assert int(refused.value.headers["Retry-After"]) >= 1
    with password_check("10.0.2.1"), pytest.raises(KeyError), password_check("10.0.2.2"):
        raise KeyError  # a place is given back however the check ends
    with ExitStack() as checks:
        for place in range(throttle.AT_ONCE):
            checks.enter_context(password_check(f"10.0.3.{place}"))
