"""Reads of nodes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.db.models import Q

from control_plane.common import secrets
from control_plane.nodes.client import Target
from control_plane.nodes.health import Health
from control_plane.nodes.models import Node
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

    from django.db.models import QuerySet

    from control_plane.nodes.work import Work

_log = structlog.get_logger(__name__)

CLOCK_STEP: Final = dt.timedelta(seconds=60)
"""A claim further in the future than this was made before the clock was set back."""

_SNAPSHOT_FIELDS: Final = (
    "id",
    "name",
    "address",
    "active",
    "health",
    "health_reason",
    "weight",
    "max_parallel",
    "version",
    "sealed_token",
    "inventory__available",
    "inventory__loaded",
)


def nodes_all(*, with_models: bool) -> QuerySet[Node]:
    """Every node with its inventory; the wide column of models on disk only when it is wanted."""
    nodes = Node.objects.select_related("inventory").defer("inventory__names")
    return nodes if with_models else nodes.defer("inventory__names", "inventory__available")


def nodes_for_snapshot() -> Iterator[Any]:
    """The rows that go into a snapshot, in a stable order: one query, named tuples of columns."""
    rows = Node.objects.order_by("id").values_list(*_SNAPSHOT_FIELDS, named=True)
    return rows.iterator(chunk_size=500)


def nodes_holding(canonical: str) -> Q:
    """The condition "has this model on disk"."""
    return Q(inventory__names__contains=f"\n{canonical}\n")


def nodes_due(work: Work, now: dt.datetime, interval_s: float) -> QuerySet[Node]:
    """The nodes whose turn it is. A node in standby is probed, but not asked for its models."""
    column = work.claim_column
    due = (
        Q(**{f"{column}__isnull": True})
        | Q(**{f"{column}__lte": now - dt.timedelta(seconds=interval_s)})
        | Q(**{f"{column}__gt": now + CLOCK_STEP})
    )
    nodes = Node.objects.filter(due).order_by(column, "id")
    return nodes if work.asks_the_unhealthy else nodes.exclude(health=Verdict.UNHEALTHY.value)


def target_of(node: Node) -> Target:
    """What a client needs to ask this node."""
    return Target(node.pk, node.address, _token_of(node), node.revision)


def _token_of(node: Node) -> str:
    """The node's token. One that no key opens any more counts as none: the node then says
    "unauthorized", which names the cure, and the other nodes of the sweep are not held up.
    """
    if not node.sealed_token:
        return ""
    try:
        return secrets.unseal(node.sealed_token)
    except secrets.UnsealError:
        _log.warning("node_token_cannot_be_opened", node_id=str(node.pk))
        return ""


def health_of(node: Node) -> Health:
    """The columns of a node's health as a value."""
    return Health(
        verdict=Verdict(node.health),
        reason=node.health_reason,
        failures=node.failures,
        successes=node.successes,
        is_fresh=node.is_fresh,
        latency_s=node.latency_s,
    )
