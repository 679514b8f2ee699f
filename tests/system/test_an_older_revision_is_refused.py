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
    older = stack.redis.get(keys.SNAPSHOT)
    stack.serving_node()
    newest = stack.plane.applied()

    stack.redis.set(keys.SNAPSHOT, older)
    stack.redis.publish(keys.HINTS, wire.encode_hint(wire.hint_of(older)))

    eventually("it is reported", lambda: _refusal(stack) == Refusal.OLDER_REVISION, 5)
    assert stack.plane.applied() == newest
    assert stack.plane.chat(MODEL).status_code == 200
    eventually("it is repaired", lambda: stack.published() >= newest, REPAIR_S)
    stack.assert_a_change_is_applied()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda sealed: b"garbage", Refusal.MALFORMED),
        (lambda sealed: sealed[:-9] + b"         ", Refusal.BAD_HASH),
        (lambda sealed: sealed.replace(b'"schema":1', b'"schema":99', 1), Refusal.UNKNOWN_SCHEMA),
    ],
)
def test_a_spoilt_snapshot_is_refused_with_its_reason(stack: Stack, spoil, reason) -> None:
    stack.serving_node()
    newest = stack.plane.applied()
    good = stack.redis.get(keys.SNAPSHOT)

    stack.redis.set(keys.SNAPSHOT, spoil(good))
    stack.redis.publish(keys.HINTS, wire.encode_hint(wire.hint_of(good)))

    eventually("it is reported", lambda: _refusal(stack) == reason, 5)
    assert stack.plane.applied() == newest
    assert stack.plane.chat(MODEL).status_code == 200
    eventually("it is repaired", lambda: stack.published() >= newest, REPAIR_S)


def _refusal(stack: Stack) -> str:
    report = stack.plane.report()
    return report.refused.reason if report and report.refused else ""
