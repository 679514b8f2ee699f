"""The regular work on nodes: claim what is due, ask, write down. Called by tasks.

A run claims a batch of due nodes by conditional update, asks them all at once, and goes on until
none is left that was due when it began. Beside these claims one key in Redis keeps two runs of the
same work from going on together; its time to live is renewed with every batch and never exceeds
what two intervals (or, for quick intervals, two batches) take, so that a killed run holds nobody up.
"""

from __future__ import annotations

import contextlib
import datetime
import time
import uuid
from typing import TYPE_CHECKING, Final

import redis
import structlog
from django.conf import settings
from django.db import transaction
from django.utils import timezone

from control_plane.common.claims import run_claim
from control_plane.common.redis import client as redis_client
from control_plane.common.reports import instances_read
from control_plane.nodes.client import CONCURRENCY, INVENTORY_TIMEOUT_S, NodeClient, ask
from control_plane.nodes.findings import findings_save
from control_plane.nodes.models import Node
from control_plane.nodes.selectors import nodes_due, target_of
from control_plane.nodes.work import Work
from control_plane.proxy_config.selectors import proxy_config_current
from shared import keys

if TYPE_CHECKING:
    from control_plane.nodes.client import Observation, Question
    from shared.snapshot import ProxyConfig

_log = structlog.get_logger(__name__)

WANTED_SPACING_S: Final = 5.0
"""A data plane repeats its wish until it sees a new snapshot; asking the node more often than this
would let one broken model name flood it."""

_MAX_TTL_S: Final = 60.0
_MARGIN_S: Final = 2.0


def sweep_health() -> int | None:
    """Probe every node that is due. Returns how many were probed; None when another run is at it."""
    config = proxy_config_current()
    ttl_s = _ttl_s(Work.CHECK, config, config.probe_timeout_s)
    with run_claim("nodes.sweep_health", ttl_s) as claim:
        if claim is None:
            return None
        probed = 0
        began = timezone.now()
        while batch := nodes_claim(Work.CHECK, began, config):
            findings_save(_ask(batch, NodeClient.health, config), config)
            probed += len(batch)
            claim.renew()
        _tell_redis(latencies_changed=probed > 0)
    return probed


def refresh_models() -> int | None:
    """Look at what the due nodes hold, and those that a data plane found to be out of date."""
    config = proxy_config_current()
    with run_claim("nodes.refresh_models", _ttl_s(Work.REFRESH, config, INVENTORY_TIMEOUT_S)) as claim:
        if claim is None:
            return None
        asked = 0
        began = timezone.now()
        _wanted_become_due(began)
        while batch := nodes_claim(Work.REFRESH, began, config):
            findings_save(_ask(batch, NodeClient.inventory, config), config)
            asked += len(batch)
            claim.renew()
    return asked


def nodes_claim(work: Work, began: datetime.datetime, config: ProxyConfig) -> list[Node]:
    """Take up to one batch of due nodes. A node claimed here is no longer due for anyone else."""
    due = nodes_due(work, began, work.interval_s(config))
    if not due.exists():  # most ticks end here, without a write
        return []
    with transaction.atomic():
        batch = list(due.select_for_update(skip_locked=True)[:CONCURRENCY])
        # The instant the run began, not the present: else a node claimed late in a long run would
        # look like one claimed before the clock was set back, and the run would never end.
        ids = [node.pk for node in batch]
        Node.objects.filter(pk__in=ids).update(**{work.claim_column: began})
    return batch


def _ask(batch: list[Node], question: Question, config: ProxyConfig) -> list[Observation]:
    targets = [target_of(node) for node in batch]
    return ask(targets, question, settings.NODE_ADDRESS_POLICY, config)


def _ttl_s(work: Work, config: ProxyConfig, batch_s: float) -> float:
    return min(max(2 * work.interval_s(config), batch_s + _MARGIN_S), max(_MAX_TTL_S, batch_s))


def _wanted_become_due(now: datetime.datetime) -> None:
    """Nodes of which a data plane says that their inventory is out of date (a listed model is gone)."""
    wanted: set[uuid.UUID] = set()
    for instance in instances_read(redis_client()):
        for node_id in instance.report.refresh_wanted if instance.report else ():
            with contextlib.suppress(ValueError):  # a report is foreign text
                wanted.add(uuid.UUID(node_id))
    if wanted:
        settled = now - datetime.timedelta(seconds=WANTED_SPACING_S)
        lately = Node.objects.filter(pk__in=wanted, refresh_claimed_at__lte=settled)
        lately.update(refresh_claimed_at=None)


def _tell_redis(*, latencies_changed: bool) -> None:
    """Latencies in one write, and the sign of life that the supervisor's watchdog looks at."""
    pipe = redis_client().pipeline(transaction=True)
    pipe.set(keys.SWEEP_FINISHED_AT, f"{time.time():.3f}")
    if latencies_changed:
        rows = Node.objects.exclude(latency_s=None).values_list("pk", "latency_s")
        latencies = {str(pk): f"{latency_s:.6f}" for pk, latency_s in rows}
        pipe.delete(keys.LATENCIES)  # nodes that are gone leave with it
        if latencies:
            pipe.hset(keys.LATENCIES, mapping=latencies)
    try:
        pipe.execute()
    except redis.RedisError as error:
        _log.warning("sweep_not_told", error=type(error).__name__)
