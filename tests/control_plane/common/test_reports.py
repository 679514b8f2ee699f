from __future__ import annotations

import time
from typing import TYPE_CHECKING

from control_plane.common.reports import instances_read
from shared import keys, reports
from shared.reports import Report

if TYPE_CHECKING:
    from redis import Redis


def test_instances_are_told_by_name_with_their_report_or_their_silence(redis: Redis) -> None:
    now = time.time()
    told = Report(
        instance="b",
        version="1",
        host="h",
        pid=1,
        started_at=now,
        reported_at=now,
        epoch="e",
        revision=1,
        ready=True,
        draining=False,
        requests_total=0,
        nodes={},
    )
    redis.set(keys.report("b"), reports.encode(told))
    redis.set(keys.report("c"), b"from another version")
    long_ago = now - keys.INSTANCE_FORGET_S - 1
    redis.zadd(keys.INSTANCES, {"c": now, "b": now, "a": now - 60, "forgotten": long_ago})
    found = instances_read(redis)
    assert [(instance.name, instance.is_live) for instance in found] == [
        ("a", False),
        ("b", True),
        ("c", False),
    ]
    assert found[1].report == told


def test_no_instance_is_no_question_more(redis: Redis) -> None:
    assert instances_read(redis) == []
