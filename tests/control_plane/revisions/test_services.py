from __future__ import annotations

import threading

import pytest
from django.db import IntegrityError, connection, transaction

from control_plane.revisions.models import Revision
from control_plane.revisions.selectors import revision_current
from control_plane.revisions.services import PUBLISH_TASK, epoch_renew, revision_bump


@pytest.fixture
def woken(monkeypatch) -> list[str]:
    """The tasks that would be woken at commit."""
    tasks: list[str] = []
    monkeypatch.setattr("control_plane.revisions.services.wake_on_commit", tasks.append)
    return tasks


def test_a_bump_counts_one_and_wakes_the_publisher(db, woken):
    epoch, revision = revision_current()
    revision_bump()
    assert revision_current() == (epoch, revision + 1)
    assert woken == [PUBLISH_TASK]


@pytest.mark.django_db(transaction=True)
def test_a_bump_without_a_transaction_is_refused():
    with pytest.raises(transaction.TransactionManagementError):
        revision_bump()


@pytest.mark.django_db(transaction=True)
def test_a_change_that_is_rolled_back_was_no_revision(woken):
    before = revision_current()
    with transaction.atomic():
        revision_bump()
        transaction.set_rollback(True)
    assert revision_current() == before


def test_a_new_history_has_a_new_epoch_and_a_higher_revision(db, woken):
    epoch, revision = revision_current()
    epoch_renew()
    renewed_epoch, renewed_revision = revision_current()
    assert renewed_epoch != epoch
    assert renewed_revision > revision
    assert woken == [PUBLISH_TASK]


@pytest.mark.django_db(transaction=True)
def test_concurrent_changes_never_share_a_revision(woken):
    """F55."""
    seen: list[int] = []
    barrier = threading.Barrier(8)

    def change() -> None:
        barrier.wait()
        try:
            with transaction.atomic():
                revision_bump()
                seen.append(revision_current()[1])
        finally:
            connection.close()

    before = revision_current()[1]
    threads = [threading.Thread(target=change) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == list(range(before + 1, before + 9))


def test_there_is_one_row(db):
    with pytest.raises(IntegrityError), transaction.atomic():
        Revision.objects.create(id=2)
