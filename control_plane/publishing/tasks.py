"""Publishing as Celery sees it: woken by name after a commit, and on the schedule."""

from __future__ import annotations

from celery import shared_task

from control_plane.common.outages import postponed_by_outage
from control_plane.publishing import services


@shared_task(name="publishing.publish", ignore_result=True)
@postponed_by_outage
def publish() -> str:
    """Publish the present state. A burst of changes is few writes: most find it there already."""
    return services.snapshot_publish()


@shared_task(name="publishing.reconcile", ignore_result=True)
@postponed_by_outage
def reconcile() -> str | None:
    """Repair the published state when it is missing, old, foreign, forged or ahead."""
    return services.snapshot_reconcile()
