"""Jobs and their parts, one part for each node. How they move is in `runs` and `services`.

A job is claimed by conditional update (`claim`, `heartbeat_at`); whoever holds the claim writes its
parts. A part names its node by value, because the history outlives the node.
"""

from __future__ import annotations

import uuid
from enum import StrEnum
from typing import ClassVar, Final

from django.conf import settings
from django.db import models

from control_plane.nodes.models import MAX_NAME_LENGTH
from control_plane.nodes.orders import Kind
from control_plane.nodes.pulling import Step
from shared.model_names import MAX_LENGTH


class State(StrEnum):
    """How far a job, or its part at one node, is. `partial` is for jobs only."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"


OPEN: Final = (State.QUEUED.value, State.RUNNING.value)
KINDS: Final = tuple((kind.value, kind.value) for kind in Kind)
STATES: Final = tuple((state.value, state.value) for state in State)
PART_STATES: Final = tuple(pair for pair in STATES if pair[0] != State.PARTIAL.value)
STEPS: Final = tuple((step.value, step.value) for step in Step)


class Job(models.Model):
    """One thing to do with one model at some nodes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    kind = models.CharField(max_length=16, choices=KINDS)
    model = models.CharField(max_length=MAX_LENGTH)
    canonical = models.CharField(max_length=MAX_LENGTH, db_index=True)
    destination = models.CharField(max_length=MAX_LENGTH, blank=True, default="")
    keep_alive = models.JSONField(null=True, help_text="Of a load: how long to stay in memory.")
    is_warmth = models.BooleanField(
        default=False, help_text="Asked for by `warm_models` of the proxy config, not by a user."
    )
    left_out = models.JSONField(
        default=list,
        help_text="Of a pull that named no nodes: names of those that could not be used, and did "
        "not get it. Pull again when they are back.",
    )
    state = models.CharField(max_length=16, choices=STATES, default=State.QUEUED.value)
    is_cancelling = models.BooleanField(default=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, editable=False
    )
    created_at = models.DateTimeField(auto_now_add=True, db_index=True)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True, db_index=True)

    claim = models.CharField(max_length=32, blank=True, default="", editable=False)
    heartbeat_at = models.DateTimeField(null=True, editable=False)
    lost = models.PositiveSmallIntegerField(
        default=0, editable=False, help_text="How often its worker died over it."
    )

    class Meta:
        """The newest first. What is open is asked for every two seconds."""

        ordering: ClassVar = ["-created_at", "id"]
        indexes: ClassVar = [
            models.Index(
                fields=["created_at"], name="jobs_open", condition=models.Q(state__in=OPEN)
            )
        ]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.kind} {self.model}"


class JobPart(models.Model):
    """A job at one node."""

    job = models.ForeignKey(Job, on_delete=models.CASCADE, related_name="parts")
    node_id = models.UUIDField()
    node_name = models.CharField(max_length=MAX_NAME_LENGTH)
    canonical = models.CharField(max_length=MAX_LENGTH)
    state = models.CharField(max_length=16, choices=PART_STATES, default=State.QUEUED.value)
    code = models.CharField(max_length=32, blank=True, default="")
    step = models.CharField(max_length=16, choices=STEPS, blank=True, default="")
    total_bytes = models.BigIntegerField(default=0)
    completed_bytes = models.BigIntegerField(default=0)
    layers = models.JSONField(default=list)
    tries = models.PositiveIntegerField(default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        """By the node's name. One open part for a model at a node: a pull and a delete of the same
        model at once would leave what nobody asked for.
        """

        ordering: ClassVar = ["node_name", "id"]
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["job", "node_id"], name="jobs_part_per_node"),
            models.UniqueConstraint(
                fields=["node_id", "canonical"],
                condition=models.Q(state__in=OPEN),
                name="jobs_one_open_part",
            ),
        ]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.job_id} at {self.node_name}"
