from __future__ import annotations

import pytest
from django.test import RequestFactory

from control_plane.common.requests import client_ip, current_request_id, request_id_enter


@pytest.mark.parametrize("given", ["a", "req-1_2.3", "x" * 128])
def test_a_well_formed_id_is_kept(given):
    assert request_id_enter(given) == given
    assert current_request_id() == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", "a\n", "a\r\nb", "é", "a/b", "\0"])
def test_anything_else_is_replaced(given):
    made = request_id_enter(given)
    assert made != given
    assert len(made) == 24


def asks(forwarded: str | None, trusted: int, settings, peer: str = "192.0.2.1") -> str:
    settings.TRUSTED_PROXIES = trusted
    headers = {} if forwarded is None else {"HTTP_X_FORWARDED_FOR": forwarded}
    return client_ip(RequestFactory().get("/", REMOTE_ADDR=peer, **headers))


@pytest.mark.parametrize(
    ("forwarded", "trusted", "expected"),
    [
        ("203.0.113.7", 0, "192.0.2.1"),  # nobody in front: whatever is said is a lie
        ("203.0.113.7", 1, "203.0.113.7"),
        ("10.9.9.9, 203.0.113.7", 1, "203.0.113.7"),  # what stands left of it may be made up
        ("10.9.9.9, 203.0.113.7, 10.0.0.2", 2, "203.0.113.7"),
        ("203.0.113.7", 2, "192.0.2.1"),
        (None, 1, "192.0.2.1"),
        ("", 1, "192.0.2.1"),
        ("2001:DB8::7", 1, "2001:db8::7"),
        ("[2001:db8::7]:4711", 1, "2001:db8::7"),
        ("fe80::1%" + "x" * 99, 1, "fe80::1"),
        ("unknown", 1, "192.0.2.1"),
        ("'; drop table " + "x" * 300, 1, "192.0.2.1"),
    ],
)
def test_the_client_is_found_as_far_as_proxies_are_trusted(forwarded, trusted, expected, settings):
    assert asks(forwarded, trusted, settings) == expected
