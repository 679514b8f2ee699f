"""Nodes and what we know of them. Rules that involve more than one field are in `services`.

Three things are kept apart because different hands write them: what the operator wants (`revision`
counts these edits), what probes found (health), and what the node holds (its inventory, a table of
its own so that no list and no probe touches wide rows).
"""

from __future__ import annotations

import uuid
from typing import ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models

from control_plane.proxy_config.models import validate_finite
from shared.addresses import MAX_LENGTH, NodeAddress, normalise
from shared.snapshot import Verdict

MAX_NAME_LENGTH: Final = 64
VERDICTS: Final = tuple((verdict.value, verdict.value) for verdict in Verdict)


def validate_printable(name: str) -> None:
    """Refuse what no list, log line or export can show: control characters, line ends, surrogates,
    invisible direction marks, blanks at the ends.
    """
    if not name.isprintable() or name != name.strip():
        msg = "Use printable characters only, without blanks at the ends."
        raise ValidationError(msg)


class Node(models.Model):
    """An Ollama server that we may send to."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(
        max_length=MAX_NAME_LENGTH, unique=True, validators=[validate_printable]
    )
    address = models.CharField(max_length=MAX_LENGTH, unique=True)
    active = models.BooleanField(default=True, help_text="Whether the operator wants it used.")
    weight = models.FloatField(
        default=1.0,
        validators=[validate_finite, MinValueValidator(0.01), MaxValueValidator(1_000)],
        help_text="Share of the work relative to other nodes.",
    )
    max_parallel = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text="Requests that it works on at once; empty when unknown.",
    )
    sealed_token = models.TextField(blank=True, default="", editable=False)
    revision = models.PositiveBigIntegerField(default=1, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    health = models.CharField(
        max_length=16, choices=VERDICTS, default=Verdict.UNKNOWN.value, editable=False
    )
    health_reason = models.CharField(max_length=32, blank=True, default="", editable=False)
    health_changed_at = models.DateTimeField(null=True, editable=False)
    is_fresh = models.BooleanField(default=True, editable=False)
    failures = models.PositiveSmallIntegerField(default=0, editable=False)
    successes = models.PositiveSmallIntegerField(default=0, editable=False)
    latency_s = models.FloatField(null=True, editable=False)
    last_seen_at = models.DateTimeField(null=True, editable=False)
    version = models.CharField(max_length=96, blank=True, default="", editable=False)

    # When a run last took this node to work on. Compared with now minus the interval, so that a
    # changed interval counts at once; a run that was killed is simply due again one interval later.
    check_claimed_at = models.DateTimeField(null=True, editable=False, db_index=True)
    refresh_claimed_at = models.DateTimeField(null=True, editable=False, db_index=True)

    class Meta:
        """Lists are by name."""

        verbose_name = "node"
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        """Name it."""
        return self.name

    @property
    def location(self) -> NodeAddress:
        """The address in its parts."""
        return normalise(self.address)

    @property
    def is_in_active_pool(self) -> bool:
        """Wished for and not known bad, as far as this plane knows."""
        return self.active and self.health != Verdict.UNHEALTHY


class NodeInventory(models.Model):
    """What a node holds, in the stored form of `inventory`."""

    node = models.OneToOneField(
        Node, primary_key=True, on_delete=models.CASCADE, related_name="inventory"
    )
    available = models.TextField(default="[]")
    loaded = models.TextField(default="[]")
    names = models.TextField(default="")
    memory = models.TextField(default="", blank=True, help_text="In the stored form of `memory`.")
    available_count = models.PositiveIntegerField(default=0)
    loaded_count = models.PositiveIntegerField(default=0)
    refreshed_at = models.DateTimeField(null=True)

    class Meta:
        """One per node."""

        verbose_name = "node inventory"

    def __str__(self) -> str:
        """Name it."""
        return f"inventory of {self.node_id}"
