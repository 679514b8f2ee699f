"""Writes of the revision."""

from __future__ import annotations

import uuid
from typing import Final

from django.db import transaction
from django.db.models import F

from control_plane.common.wake import wake_on_commit
from control_plane.revisions.models import THE_ROW, Revision

PUBLISH_TASK: Final = "publishing.publish"


def revision_bump() -> None:
    """Count a change that the data planes must know, within the transaction of that change.

    The publisher is woken once the change has committed. Raises when there is no transaction: a
    revision that commits without its change would publish a lie.
    """
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("bump the revision with the change it counts")
    Revision.objects.filter(pk=THE_ROW).update(revision=F("revision") + 1)
    wake_on_commit(PUBLISH_TASK)


@transaction.atomic
def epoch_renew() -> None:
    """Begin a new history: what was published before may hold revisions that we do not have."""
    Revision.objects.filter(pk=THE_ROW).update(epoch=uuid.uuid4(), revision=F("revision") + 1)
    wake_on_commit(PUBLISH_TASK)
