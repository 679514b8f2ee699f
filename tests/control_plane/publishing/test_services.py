from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from django.conf import settings
from django.db import connection, transaction
from redis.exceptions import ResponseError

from control_plane.nodes.models import Node
from control_plane.publishing import tasks
from control_plane.publishing.build import snapshot_build
from control_plane.publishing.services import (
    Finding,
    Published,
    snapshot_publish,
    snapshot_reconcile,
)
from control_plane.revisions.models import Revision
from control_plane.revisions.selectors import revision_current
from control_plane.revisions.services import revision_bump
from shared import keys, wire

if TYPE_CHECKING:
    from pytest_django.fixtures import SettingsWrapper
    from redis import Redis

    from shared.snapshot import Snapshot

pytestmark = pytest.mark.django_db


def bump(times: int = 1) -> None:
    for _ in range(times):
        with transaction.atomic():
            revision_bump()


def published(redis: Redis) -> Snapshot:
    sealed = redis.get(keys.SNAPSHOT)
    assert isinstance(sealed, bytes)
    return wire.open_sealed(sealed, settings.SNAPSHOT_KEY)


def place(redis: Redis, **changes: object) -> bytes:
    """Put another snapshot under the key, properly sealed."""
    import msgspec

    snapshot = msgspec.structs.replace(snapshot_build(), **changes)
    sealed = wire.seal(snapshot, settings.SNAPSHOT_KEY)
    redis.set(keys.SNAPSHOT, sealed)
    return sealed


def test_publishing_writes_the_snapshot_and_sends_a_hint(redis: Redis) -> None:
    listener = redis.pubsub(ignore_subscribe_messages=True)
    listener.subscribe(keys.HINTS)
    listener.get_message(timeout=1.0)
    bump()
    assert snapshot_publish() is Published.WRITTEN
    snapshot = published(redis)
    assert (snapshot.epoch, snapshot.revision) == revision_current()
    message = listener.get_message(timeout=2.0)
    assert message is not None
    hint = wire.decode_hint(message["data"])
    assert hint is not None
    assert (hint.epoch, hint.revision) == revision_current()
    listener.close()


def test_a_redis_without_memory_delays_a_change_and_loses_none(redis: Redis) -> None:
    """F50: the database has it, and the reconciler delivers it when there is room."""
    redis.config_set("maxmemory", "1")
    try:
        bump()
        with pytest.raises(ResponseError):
            snapshot_publish()
    finally:
        redis.config_set("maxmemory", "0")
    assert snapshot_publish() is Published.WRITTEN
    snapshot = published(redis)
    assert (snapshot.epoch, snapshot.revision) == revision_current()


def test_publishing_again_writes_nothing(redis: Redis) -> None:
    snapshot_publish()
    before = redis.get(keys.SNAPSHOT)
    assert snapshot_publish() is Published.UP_TO_DATE
    assert redis.get(keys.SNAPSHOT) == before


def test_something_newer_is_not_replaced(redis: Redis) -> None:
    there = place(redis, revision=revision_current()[1] + 5)
    assert snapshot_publish() is Published.UP_TO_DATE
    assert redis.get(keys.SNAPSHOT) == there


@pytest.mark.django_db(transaction=True)
def test_many_publishers_and_many_changes_end_at_the_newest(redis: Redis) -> None:
    """F55."""
    seen: list[int] = []
    barrier = threading.Barrier(4)

    def change_and_publish() -> None:
        barrier.wait()
        for _ in range(8):
            bump()
            snapshot_publish()
            seen.append(wire.peek(redis.get(keys.SNAPSHOT)).revision)
        connection.close()

    threads = [threading.Thread(target=change_and_publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert snapshot_publish() in {Published.UP_TO_DATE, Published.WRITTEN}
    assert published(redis).revision == revision_current()[1]


def test_a_missing_key_is_written_again(redis: Redis) -> None:
    snapshot_publish()
    redis.flushall()
    assert snapshot_reconcile() is Finding.MISSING
    assert published(redis).revision == revision_current()[1]
    assert snapshot_reconcile() is Finding.CURRENT


def test_an_older_revision_is_brought_up(redis: Redis) -> None:
    snapshot_publish()
    bump(2)
    assert snapshot_reconcile() is Finding.OLDER
    assert published(redis).revision == revision_current()[1]


def test_a_foreign_epoch_is_replaced_even_when_its_revision_is_higher(redis: Redis) -> None:
    place(redis, epoch="11111111-1111-1111-1111-111111111111", revision=1_000_000)
    assert snapshot_reconcile() is Finding.FOREIGN
    assert (published(redis).epoch, published(redis).revision) == revision_current()


@pytest.mark.parametrize("harm", ["signature", "payload", "garbage", "empty", "truncated"])
def test_what_is_not_ours_is_replaced(redis: Redis, harm: str) -> None:
    sealed = place(redis, revision=revision_current()[1])
    forged = {
        "signature": wire.seal(snapshot_build(), b"another key of enough bytes"),
        "payload": sealed[:-20] + b"x" + sealed[-19:],
        "garbage": b"\0\xff" * 100,
        "empty": b"{}\n",
        "truncated": sealed[: len(sealed) // 2],
    }[harm]
    redis.set(keys.SNAPSHOT, forged)
    assert snapshot_reconcile() is Finding.REFUSED
    assert published(redis).revision == revision_current()[1]


def test_a_forged_high_revision_does_not_keep_the_truth_out(redis: Redis) -> None:
    import msgspec

    liar = msgspec.structs.replace(snapshot_build(), revision=10**12)
    redis.set(keys.SNAPSHOT, wire.seal(liar, b"another key of enough bytes"))
    epoch = revision_current()[0]
    assert snapshot_publish() is Published.UP_TO_DATE  # it reads the header only
    assert snapshot_reconcile() is Finding.REFUSED
    assert (published(redis).epoch, published(redis).revision) == (epoch, revision_current()[1])


def test_a_database_that_lost_history_begins_a_new_epoch(redis: Redis) -> None:
    bump(5)
    snapshot_publish()
    old_epoch, _ = revision_current()
    Revision.objects.update(revision=1)
    assert snapshot_reconcile() is Finding.AHEAD
    epoch, revision = revision_current()
    assert epoch != old_epoch
    assert (published(redis).epoch, published(redis).revision) == (epoch, revision)
    assert snapshot_reconcile() is Finding.CURRENT


def test_a_snapshot_beyond_the_limit_leaves_the_last_one_in_place(
    redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot_publish()
    before = redis.get(keys.SNAPSHOT)
    Node.objects.create(name="n", address="http://10.0.0.1:1")
    bump()
    monkeypatch.setattr(wire, "MAX_SNAPSHOT_BYTES", 400)
    assert snapshot_publish() is Published.TOO_LARGE
    assert redis.get(keys.SNAPSHOT) == before


def test_the_tasks_have_the_names_that_are_woken_and_end_quietly_without_redis(
    settings: SettingsWrapper,
) -> None:
    assert (tasks.publish.name, tasks.reconcile.name) == (
        "publishing.publish",
        "publishing.reconcile",
    )
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert tasks.publish() is None
    assert tasks.reconcile() is None
