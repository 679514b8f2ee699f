from __future__ import annotations

import pytest
from django.db import OperationalError
from redis.exceptions import ConnectionError as RedisConnectionError

from control_plane.common.outages import postponed_by_outage


@pytest.mark.parametrize("error", [OperationalError, RedisConnectionError])
def test_what_is_away_ends_the_work_quietly(error: type[Exception]) -> None:
    @postponed_by_outage
    def work() -> str:
        raise error("away")

    assert work() is None


def test_a_fault_of_ours_is_not_hidden_and_a_result_is_passed_on() -> None:
    @postponed_by_outage
    def work(divisor: int) -> float:
        return 1 / divisor

    assert work(2) == 0.5
    with pytest.raises(ZeroDivisionError):
        work(0)
