"""A hint may be lost; the snapshot is looked at every 10 s (give or take a fifth) all the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.plane import MODEL
from fakes.processes import eventually

from shared import keys

if TYPE_CHECKING:
    from fakes.stack import Stack

FOUND_S = 12.0 + 1.0
"""The promise, and a second for two busy cores. The shipped interval: nothing is shortened here."""


def test_a_snapshot_written_without_a_hint_is_applied_within_twelve_seconds(stack: Stack) -> None:
    """F46. The snapshot revokes a key, which nobody has been told of."""
    stack.serving_node()
    key = stack.api.key_create("first")["key"]
    stack.await_applied()
    assert stack.plane.chat(MODEL, key=key).status_code == 200
    epoch, revision = stack.plane.applied()
    stack.worker.freeze()  # so that nobody else publishes

    sealed = stack.redis.get(keys.SNAPSHOT)
    stack.redis.set(keys.SNAPSHOT, stack.with_revision_added(sealed, revokes_keys=True))
    written_at = time.monotonic()

    eventually(
        "it is found",
        lambda: stack.plane.applied() == (epoch, revision + 1),
        FOUND_S,
    )
    assert stack.plane.chat(MODEL, key=key).status_code == 401
    print(f"a lost hint was found after {time.monotonic() - written_at:.1f} s")
