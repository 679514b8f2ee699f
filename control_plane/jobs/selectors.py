"""Reads of jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import Count, Q, Sum

from control_plane.jobs.models import OPEN, Job, JobPart, State

if TYPE_CHECKING:
    from django.db.models import QuerySet

COUNTED: Final = tuple(state for state in State if state is not State.PARTIAL)


def jobs_all() -> QuerySet[Job]:
    """Every job with how many of its nodes are where, and the bytes of all of them."""
    counts = {
        f"nodes_{state}": Count("parts", filter=Q(parts__state=state.value)) for state in COUNTED
    }
    jobs = Job.objects.select_related("created_by").annotate(
        **counts,
        total_bytes=Sum("parts__total_bytes", default=0),
        completed_bytes=Sum("parts__completed_bytes", default=0),
    )
    return jobs.order_by("-created_at", "id")  # Django leaves Meta.ordering out of grouped queries


def parts_open() -> QuerySet[JobPart]:
    """What is under way, at which node."""
    return JobPart.objects.filter(state__in=OPEN).select_related("job")


def percent(completed_bytes: int, total_bytes: int) -> float | None:
    """How far a download is, in 0 to 100; None before its size is known."""
    return round(100 * completed_bytes / total_bytes, 1) if total_bytes else None
