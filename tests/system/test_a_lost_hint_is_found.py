"""A hint may be lost; the snapshot is looked at every 10 s (give or take a fifth) all the same."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec
from fakes.processes import eventually
from fakes.stack import SECRETS

from shared import keys, wire

if TYPE_CHECKING:
    from fakes.stack import Stack

FOUND_S = 12.0 + 1.0
"""The promise, and a second for two busy cores. The shipped interval: nothing is shortened here."""


def test_a_snapshot_written_without_a_hint_is_applied_within_twelve_seconds(stack: Stack) -> None:
    stack.serving_node()
    key = SECRETS["AIVONX_SNAPSHOT_KEY"].encode()
    stack.worker.freeze()  # so that nobody publishes while we do
    snapshot = wire.open_sealed(stack.redis.get(keys.SNAPSHOT), key)
    next_revision = snapshot.revision + 1
    silent = msgspec.structs.replace(snapshot, revision=next_revision)

    stack.redis.set(keys.SNAPSHOT, wire.seal(silent, key))
    written_at = time.monotonic()

    eventually(
        "it is found",
        lambda: stack.plane.applied() == (snapshot.epoch, next_revision),
        FOUND_S,
    )
    print(f"a lost hint was found after {time.monotonic() - written_at:.1f} s")
