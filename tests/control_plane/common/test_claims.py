from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from redis.exceptions import RedisError

from control_plane.common.claims import run_claim
from shared import keys

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper
    from redis import Redis


def test_one_run_at_a_time(redis: Redis) -> None:
    with run_claim("work", 10.0) as first:
        assert first is not None
        with run_claim("work", 10.0) as second:
            assert second is None
        with run_claim("other", 10.0) as other:
            assert other is not None
        assert redis.exists(keys.claim("work"))
    with run_claim("work", 10.0) as again:
        assert again is not None
    assert not redis.exists(keys.claim("work"))


def test_a_run_that_fails_gives_the_claim_back(redis: Redis) -> None:
    with pytest.raises(ZeroDivisionError), run_claim("work", 10.0):
        1 / 0  # noqa: B018 - any failure
    assert not redis.exists(keys.claim("work"))


def test_a_claim_expires_and_renewing_starts_its_time_again(redis: Redis) -> None:
    with run_claim("work", 10.0) as claim:
        assert claim is not None
        redis.pexpire(keys.claim("work"), 50)
        assert claim.renew()
        assert redis.pttl(keys.claim("work")) > 5_000


def test_a_claim_that_was_lost_says_so_and_frees_nobody_elses(redis: Redis) -> None:
    with run_claim("work", 10.0) as claim:
        assert claim is not None
        redis.set(keys.claim("work"), "somebody else")
        assert not claim.renew()
    assert redis.get(keys.claim("work")) == b"somebody else"


def test_without_redis_nobody_runs(settings: SettingsWrapper) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(RedisError), run_claim("work", 10.0):
        pytest.fail("ran without a claim")
