"""Writes of what probes found: health, version, inventory.

A finding belongs to the edit of the node that was asked (`Target.revision`). When an operator has
changed the node meanwhile, the finding is dropped: it says something of another address.
Rows are locked in the order of their ids and the revision row last, as in `services`, so that two
writers never wait for each other in a circle. Chunks are small, because on SQLite a transaction
keeps every other writer waiting.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db import transaction
from django.utils import timezone

from control_plane.nodes.health import judge
from control_plane.nodes.inventory import (
    Inventory,
    available_models,
    encode_available,
    encode_loaded,
    is_changed,
    loaded_models,
)
from control_plane.nodes.memory import memory_of, memory_take, memory_text
from control_plane.nodes.models import Node, NodeInventory
from control_plane.nodes.selectors import health_of
from control_plane.revisions.services import revision_bump
from shared.snapshot import Verdict

if TYPE_CHECKING:
    import datetime as dt
    import uuid
    from collections.abc import Sequence

    from control_plane.nodes.client import Observation
    from shared.snapshot import ProxyConfig

CHUNK: Final = 50
HEALTH_FIELDS: Final = (
    "health",
    "health_reason",
    "health_changed_at",
    "is_fresh",
    "failures",
    "successes",
    "latency_s",
    "last_seen_at",
    "version",
    "refresh_claimed_at",
)


def findings_save(observations: Sequence[Observation], config: ProxyConfig) -> int:
    """Write what was found of many nodes; returns how many changes the data planes must hear of."""
    now = timezone.now()
    found = {seen.target.id: seen for seen in observations if seen.target.id is not None}
    ids = sorted(found)
    chunks = (ids[start : start + CHUNK] for start in range(0, len(ids), CHUNK))
    return sum(_chunk_save({pk: found[pk] for pk in chunk}, config, now) for chunk in chunks)


@transaction.atomic
def _chunk_save(chunk: dict[uuid.UUID, Observation], config: ProxyConfig, now: dt.datetime) -> int:
    nodes = Node.objects.select_for_update().filter(pk__in=chunk).order_by("pk")
    asked = [pk for pk, seen in chunk.items() if _has_inventory(seen)]
    inventories = NodeInventory.objects.in_bulk(asked) if asked else {}
    changes = 0
    for node in nodes:
        seen = chunk[node.pk]
        if node.revision != seen.target.revision:
            continue
        is_news = health_take(node, seen, config, now)
        node.save(update_fields=HEALTH_FIELDS)
        if _has_inventory(seen):
            inventory = inventories.get(node.pk) or NodeInventory(node=node)
            is_news |= inventory_take(inventory, seen, now)
            inventory.save()
        changes += is_news
    if changes:
        revision_bump()
    return changes


def _has_inventory(seen: Observation) -> bool:
    return seen.available is not None or seen.loaded is not None


def health_take(node: Node, seen: Observation, config: ProxyConfig, now: dt.datetime) -> bool:
    """Put one probe into a node's fields. True when the data planes must hear of it."""
    is_news = bool(seen.version) and seen.version != node.version
    if is_news:
        node.version = seen.version
    if seen.probe is None:
        return is_news
    before = health_of(node)
    after = judge(before, seen.probe, fall=config.fall, rise=config.rise)
    node.health = after.verdict.value
    node.health_reason = after.reason
    node.failures = after.failures
    node.successes = after.successes
    node.is_fresh = after.is_fresh
    node.latency_s = after.latency_s
    if seen.probe.is_ok:
        node.last_seen_at = now
    if after.verdict is before.verdict:
        return is_news
    node.health_changed_at = now
    if after.verdict is Verdict.HEALTHY:
        node.refresh_claimed_at = None  # back again, perhaps with other models: look at once
    return True


def inventory_take(inventory: NodeInventory, seen: Observation, now: dt.datetime) -> bool:
    """Put what a node holds into its inventory. A part that did not answer keeps its last state."""
    before = Inventory(inventory.available, inventory.loaded)
    after = Inventory(
        before.available if seen.available is None else encode_available(seen.available),
        before.loaded if seen.loaded is None else encode_loaded(seen.loaded),
    )
    if seen.loaded is not None:
        inventory.memory = memory_text(
            memory_take(
                memory_of(inventory.memory),
                loaded_models(before.loaded),
                loaded_models(after.loaded),
                now.timestamp(),
            )
        )
    inventory.refreshed_at = now
    if after == before:
        return False
    inventory.available, inventory.loaded = after.available, after.loaded
    inventory.names = after.names
    inventory.available_count = len(available_models(after.available))
    inventory.loaded_count = len(loaded_models(after.loaded))
    return is_changed(before, after, now)
