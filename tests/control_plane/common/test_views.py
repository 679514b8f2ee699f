from __future__ import annotations

import pytest
from django.db import OperationalError, connection
from django.test import Client


@pytest.mark.parametrize("target", ["/livez", "/livez/"])
def test_a_live_process_says_so(target):
    answer = Client().get(target)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.parametrize("target", ["/readyz", "/healthz", "/api/health", "/api/health/"])
def test_ready_tells_of_the_database_and_redis(target, db, redis):
    answer = Client().get(target)
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "checks": {"database": "ok", "redis": "ok"}}


def test_without_redis_it_is_degraded_and_still_ready(db):
    answer = Client().get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "degraded", "checks": {"database": "ok", "redis": "down"}}


def test_without_the_database_it_is_not_ready_but_live(db, redis):
    def fail(*_: object) -> None:
        raise OperationalError("gone")

    with connection.execute_wrapper(fail):
        answer = Client().get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "unavailable"
        assert Client().get("/livez").status_code == 200


@pytest.mark.parametrize("target", ["/", "/livez", "/readyz"])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "FOO"])
def test_they_are_for_reading_only(target, method):
    # With the CSRF check, whose 403 would hide the 405.
    answer = Client(enforce_csrf_checks=True).generic(method, target)
    assert answer.status_code == 405
    assert answer["Allow"] == "GET, HEAD"
    assert answer.json()["code"] == "method_not_allowed"
