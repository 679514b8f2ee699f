"""What the worker writes of jobs: claims, heartbeats, progress, ends.

A worker claims a job by conditional update and writes only while the claim is its own. A job whose
heartbeat is older than `LEASE` belongs to nobody: the next run claims it and goes on with the parts
that were not done, which every kind of job allows (a pull goes on where it was, a delete of what is
gone is done). A job that has killed its worker `MAX_LOST` times is given up.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone

from control_plane.accounts.services import audit_record
from control_plane.jobs.models import OPEN, Job, JobPart, State
from control_plane.nodes.orders import Fault

if TYPE_CHECKING:
    import uuid
    from collections.abc import Collection, Iterable

    from control_plane.nodes.pulling import Progress

LEASE: Final = dt.timedelta(seconds=30)
"""More than SQLite's busy timeout (20 s): a worker that waits for its turn to write is not dead."""

MAX_LOST: Final = 3
AUDITED_AS: Final = "jobs"


def jobs_claim(token: str, limit: int) -> list[Job]:
    """Take up to so many jobs that nobody works on. Most calls end without a write."""
    now = timezone.now()
    abandoned = Q(state=State.RUNNING.value, heartbeat_at__lt=now - LEASE)
    due = Job.objects.filter(Q(state=State.QUEUED.value) | abandoned).order_by("created_at")
    return [job for job in due[:limit] if _claim(job, token, now)]


@transaction.atomic
def _claim(job: Job, token: str, now: dt.datetime) -> bool:
    """Take one job as it was read; False when somebody was quicker."""
    was_lost = job.state == State.RUNNING
    seen = {"state": job.state, "claim": job.claim, "heartbeat_at": job.heartbeat_at}
    taken = Job.objects.filter(pk=job.pk, **seen).update(
        state=State.RUNNING.value,
        claim=token,
        heartbeat_at=now,
        lost=F("lost") + int(was_lost),
        started_at=Coalesce("started_at", now),
    )
    if not taken:
        return False
    job.refresh_from_db()
    unfinished = job.parts.filter(state__in=OPEN)
    if job.is_cancelling:
        unfinished.update(state=State.CANCELLED.value, finished_at=now)
    elif job.lost > MAX_LOST:
        gone = {"state": State.FAILED.value, "code": Fault.WORKER_LOST.value}
        unfinished.update(**gone, finished_at=now)
    else:
        unfinished.update(
            state=State.RUNNING.value,
            tries=F("tries") + 1,
            started_at=Coalesce("started_at", now),
        )
    return True


def jobs_heartbeat(token: str, job_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, bool]:
    """Say that these jobs are being worked on. Answers with those that are still ours, and whether
    each is to be cancelled.
    """
    ours = Job.objects.filter(pk__in=job_ids, claim=token, state=State.RUNNING.value)
    ours.update(heartbeat_at=timezone.now())
    return dict(ours.values_list("pk", "is_cancelling"))


def part_progress(part: JobPart, progress: Progress) -> None:
    """Put what a pull says of itself into the part's fields."""
    part.step = progress.step.value if progress.step else ""
    part.total_bytes, part.completed_bytes = progress.total_bytes, progress.completed_bytes
    part.layers = [
        {
            "digest": layer.digest,
            "total_bytes": layer.total_bytes,
            "completed_bytes": layer.completed_bytes,
        }
        for layer in progress.layers.values()
    ]


def part_end(part: JobPart, state: State, code: str = "") -> None:
    """Put the end into the part's fields."""
    part.state, part.code, part.finished_at = state.value, code, timezone.now()


def parts_write(parts: Iterable[JobPart]) -> None:
    """Write the parts' progress and ends."""
    fields = ["state", "code", "step", "total_bytes", "completed_bytes", "layers", "finished_at"]
    JobPart.objects.bulk_update(parts, fields, batch_size=50)


def job_finish(job: Job, token: str) -> bool:
    """Close a job whose parts have all ended; False while one has not, or when it is not ours."""
    states = set(job.parts.values_list("state", flat=True))
    if states & set(OPEN):
        return False
    ended = _state_of(states)
    closed = Job.objects.filter(pk=job.pk, claim=token, state=State.RUNNING.value).update(
        state=ended.value, finished_at=timezone.now(), claim="", is_cancelling=False
    )
    if closed:
        said = {"kind": job.kind, "model": job.model, "state": ended.value}
        audit_record(AUDITED_AS, "job.finish", f"job:{job.pk}", None, said | _failures(job))
    return bool(closed)


def jobs_release(token: str, job_ids: Collection[uuid.UUID]) -> None:
    """Give jobs back unfinished, because this worker is told to stop: the next one goes on."""
    with transaction.atomic():
        ours = Job.objects.filter(pk__in=job_ids, claim=token, state=State.RUNNING.value)
        released = list(ours.values_list("pk", flat=True))
        parts = JobPart.objects.filter(job__in=released, state=State.RUNNING.value)
        parts.update(state=State.QUEUED.value)
        ours.update(state=State.QUEUED.value, claim="")


def _state_of(states: set[str]) -> State:
    """What the job is when its parts are these."""
    if State.CANCELLED in states:
        return State.CANCELLED
    if State.FAILED not in states:
        return State.SUCCEEDED
    return State.PARTIAL if State.SUCCEEDED in states else State.FAILED


def _failures(job: Job) -> dict[str, dict[str, str]]:
    failed = job.parts.filter(state=State.FAILED.value).values_list("node_name", "code")
    return {"failed": dict(failed)} if failed else {}
