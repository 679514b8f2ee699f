"""The bound on password checks."""

from __future__ import annotations

import pytest

from control_plane.accounts.errors import ThrottledError
from control_plane.accounts.throttle import Buckets, network_of


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
