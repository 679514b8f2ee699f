"""History does not run backwards: an older snapshot is refused, reported and repaired."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from fakes.plane import MODEL
from fakes.processes import eventually

from shared import keys, wire
from shared.wire import Refusal

if TYPE_CHECKING:
    from fakes.stack import Stack

REPAIR_S = 10.0


def test_an_older_revision_is_refused_reported_and_repaired(stack: Stack) -> None:
    """F48."""
    older = stack.redis.get(keys.SNAPSHOT)
    stack.serving_node()
    newest = stack.plane.applied()
    stack.worker.freeze()  # it repairs within seconds, at times before the next report

    stack.redis.set(keys.SNAPSHOT, older)
    stack.redis.publish(keys.HINTS, wire.encode_hint(wire.hint_of(older)))

    eventually("it is reported", lambda: _refusal(stack) == Refusal.OLDER_REVISION, 5)
    assert stack.plane.applied() == newest
    assert stack.plane.chat(MODEL).status_code == 200
    stack.worker.thaw()
    eventually("it is repaired", lambda: stack.published() >= newest, REPAIR_S)
    stack.assert_a_change_is_applied()


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b"{", b"garbage", Refusal.MALFORMED),
        (b'"weight":', b'"weighs":', Refusal.BAD_HASH),
        (b'"schema":1', b'"schema":99', Refusal.UNKNOWN_SCHEMA),
        (b'"hmac":"', b'"hmac":"00', Refusal.BAD_SIGNATURE),
    ],
)
def test_a_spoilt_snapshot_is_refused_with_its_reason(
    stack: Stack, old: bytes, new: bytes, reason: Refusal
) -> None:
    """F49, S43."""
    stack.serving_node(weight=2)
    newest = stack.plane.applied()
    stack.worker.freeze()
    announced = stack.with_revision_added(stack.redis.get(keys.SNAPSHOT))
    assert old in announced

    stack.redis.set(keys.SNAPSHOT, announced.replace(old, new, 1))
    stack.redis.publish(keys.HINTS, wire.encode_hint(wire.hint_of(announced)))

    eventually("it is reported", lambda: _refusal(stack) == reason, 5)
    assert stack.plane.applied() == newest
    assert stack.plane.chat(MODEL).status_code == 200
    stack.worker.thaw()
    eventually("it is repaired", lambda: stack.published() >= newest, REPAIR_S)
    stack.assert_a_change_is_applied()


def _refusal(stack: Stack) -> str:
    report = stack.plane.report()
    return report.refused.reason if report and report.refused else ""
