"""What the fleet is doing now: the database's word and the data planes' reports, side by side.

The database says what nodes there are, what the operator wishes and what the sweep found; Redis
says what the data planes see. Redis may be away: then the first half is answered, and
`reports_available` is false instead of numbers that nobody counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import RedisError

from control_plane.common import redis
from control_plane.common.reports import Instance, instances_read
from control_plane.nodes.inventory import available_entries, loaded_models, model_of
from control_plane.nodes.models import Node, NodeInventory
from control_plane.proxy_config.selectors import proxy_config_current
from control_plane.publishing.selectors import acknowledgements
from control_plane.revisions.selectors import revision_current
from shared import keys
from shared.events import CURES, ProbeOutcome
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

DISABLED: Final = "disabled"
_KNOWN_REASONS: Final = frozenset(ProbeOutcome)


@dataclass(frozen=True, slots=True)
class Fleet:
    """What Redis had to say. `is_known` is False when it could not be asked."""

    is_known: bool = False
    instances: tuple[Instance, ...] = ()
    latencies: Mapping[str, float] = field(default_factory=dict)

    @property
    def live(self) -> list[Instance]:
        """The instances whose last report still counts."""
        return [instance for instance in self.instances if instance.is_live]

    def active_counts(self) -> dict[str, dict[str, int]]:
        """Node id -> instance -> requests that the node is processing for it; zeros left out."""
        counts: dict[str, dict[str, int]] = {}
        for instance in self.live:
            for node_id, seen in instance.report.nodes.items() if instance.report else ():
                if seen.active_count:
                    counts.setdefault(node_id, {})[instance.name] = seen.active_count
        return counts

    def standby_reasons(self) -> dict[str, dict[str, str]]:
        """Node id -> instance -> why that instance keeps the node in standby."""
        reasons: dict[str, dict[str, str]] = {}
        for instance in self.live:
            for node_id, seen in instance.report.nodes.items() if instance.report else ():
                if seen.standby is not None:
                    reasons.setdefault(node_id, {})[instance.name] = seen.standby
        return reasons


def fleet_now() -> Fleet:
    """Ask Redis, within its short time-outs."""
    client = redis.client()
    try:
        instances = tuple(instances_read(client))
        latencies: Any = client.hgetall(keys.LATENCIES)
    except RedisError:
        return Fleet()
    return Fleet(
        is_known=True,
        instances=instances,
        latencies={node_id.decode(): float(text) for node_id, text in latencies.items()},
    )


def state_now() -> dict[str, Any]:
    """Everything that /api/proxy/state shows."""
    fleet = fleet_now()
    epoch, revision = revision_current()
    nodes = list(Node.objects.order_by("name"))
    counts, reasons = fleet.active_counts(), fleet.standby_reasons()
    active: list[dict[str, Any]] = []
    standby: list[dict[str, Any]] = []
    for node in nodes:
        why = _standby_reasons(node, reasons.get(str(node.pk), {}))
        row = _node_row(node, fleet, counts.get(str(node.pk), {}))
        if _is_in_standby(node, why, len(fleet.live)):
            standby.append(row | {"reasons": why})
        else:
            active.append(row | {"doubts": why})
    return {
        "epoch": epoch,
        "revision": revision,
        "strategy": proxy_config_current().strategy.value,
        "reports_available": fleet.is_known,
        "active": active,
        "standby": standby,
        "node_ids": {str(node.pk): node.name for node in nodes},
        "latencies": {str(node.pk): _latency_s(node, fleet) for node in nodes},
        "active_counts": {
            str(node.pk): sum(counts.get(str(node.pk), {}).values()) if fleet.is_known else None
            for node in nodes
        },
        "models": models_merged((epoch, revision)),
        "instances": instances_public(fleet, epoch, revision),
    }


def active_requests_now(nodes: Iterable[Node]) -> dict[str, Any]:
    """How many requests these nodes are processing, in all and for each instance."""
    fleet = fleet_now()
    counts = fleet.active_counts()
    rows: list[dict[str, Any]] = []
    total = 0
    for node in nodes:
        by_instance = counts.get(str(node.pk), {})
        active = sum(by_instance.values())
        total += active
        rows.append(
            {
                "node_id": str(node.pk),
                "name": node.name,
                "active_requests": active if fleet.is_known else None,
                "by_instance": by_instance,
            }
        )
    return {
        "reports_available": fleet.is_known,
        "active_requests": total if fleet.is_known else None,
        "nodes": rows,
    }


def instances_public(fleet: Fleet, epoch: str, revision: int) -> list[dict[str, Any]]:
    """Each data-plane instance: what it applied or refused, how old its word is."""
    now = time.time()
    lines = []
    for instance, line in zip(
        fleet.instances, acknowledgements(fleet.instances, epoch, revision, now), strict=True
    ):
        report = instance.report
        refused = line.refused
        lines.append(
            {
                "instance": instance.name,
                "live": instance.is_live,
                "applied": line.applied.value,
                "epoch": line.epoch,
                "revision": line.revision,
                "refused": refused
                and {
                    "epoch": refused.epoch,
                    "revision": refused.revision,
                    "reason": refused.reason,
                },
                "age_s": round(line.age_s, 3),
                "uptime_s": round(max(0.0, now - report.started_at), 3) if report else None,
                "version": report.version if report else "",
                "host": report.host if report else "",
                "ready": bool(report and report.ready),
                "draining": bool(report and report.draining),
                "requests_total": report.requests_total if report else None,
            }
        )
    return lines


def _node_row(node: Node, fleet: Fleet, counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "id": str(node.pk),
        "name": node.name,
        "address": node.address,
        "weight": node.weight,
        "max_parallel": node.max_parallel,
        "version": node.version,
        "health": node.health,
        "latency_s": _latency_s(node, fleet),
        "active_count": sum(counts.values()) if fleet.is_known else None,
        "active_counts": dict(counts),
    }


def _latency_s(node: Node, fleet: Fleet) -> float | None:
    return fleet.latencies.get(str(node.pk), node.latency_s)


def _standby_reasons(node: Node, seen: Mapping[str, str]) -> list[dict[str, Any]]:
    """Who has something against the node: the operator, the sweep, each data plane."""
    reasons: list[dict[str, Any]] = []
    if not node.active:
        detail = "an operator has taken this node out of service"
        reasons.append({"by": "operator", "code": DISABLED, "detail": detail})
    if node.health == Verdict.UNHEALTHY:
        reasons.append(
            {"by": "sweep", "code": node.health_reason, "detail": _cure(node.health_reason)}
        )
    reasons.extend(
        {"by": "data_plane", "instance": instance, "code": code, "detail": _cure(code)}
        for instance, code in sorted(seen.items())
    )
    return reasons


def _is_in_standby(node: Node, reasons: list[dict[str, Any]], live: int) -> bool:
    """The operator and the sweep speak for all; a data plane speaks for itself, so that it takes
    every one of them to call a node out of the pool.
    """
    own_eyes = sum(reason["by"] == "data_plane" for reason in reasons)
    return not node.is_in_active_pool or (live > 0 and own_eyes >= live)


def _cure(code: str) -> str:
    return CURES[ProbeOutcome(code)] if code in _KNOWN_REASONS else code


@lru_cache(maxsize=1)
def models_merged(_of: tuple[str, int]) -> list[dict[str, Any]]:
    """Every model of the fleet once, with how many nodes hold it. Depends on nothing but the
    revision (every changed inventory bumps it), so a page that is polled costs it once.
    """
    found: dict[str, _Merged] = {}
    of_entry: dict[bytes, _Merged] = {}
    for available, loaded in NodeInventory.objects.values_list("available", "loaded").iterator():
        for entry, _ in available_entries(available):
            merged = of_entry.get(entry)
            if merged is None:
                model = model_of(entry)
                merged = found.setdefault(model.canonical, _Merged(model.name))
                merged.digests.add(model.digest)
                of_entry[entry] = merged
            merged.nodes += 1
        for name in {model.canonical for model in loaded_models(loaded)} & found.keys():
            found[name].loaded += 1
    return [
        {
            "name": merged.name,
            "canonical": canonical,
            "nodes": merged.nodes,
            "loaded_on": merged.loaded,
            "digests": len(merged.digests),
        }
        for canonical, merged in sorted(found.items())
    ]


@dataclass(slots=True)
class _Merged:
    """One model while it is being counted."""

    name: str
    nodes: int = 0
    loaded: int = 0
    digests: set[str] = field(default_factory=set)
