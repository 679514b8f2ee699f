"""The regular work on nodes: claim what is due, ask, write down. Called by tasks.

A run claims a batch of due nodes by conditional update, asks them all at once, and goes on until
none is left that was due when it began. Beside these claims one key in Redis keeps two runs of the
same work from going on together. Its time to live is renewed with every batch and is two intervals
at most, or what one batch takes if that is more: a killed run does not hold others up.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

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
    from control_plane.nodes.client import Question
    from shared.snapshot import ProxyConfig

_log = structlog.get_logger(__name__)

WANTED_SPACING_S: Final = 5.0
"""A data plane repeats its wish until it sees a new snapshot; asking the node more often than this
would let one broken model name flood it."""

MAX_TOLD: Final = 500
"""Node ids taken from Redis by one tick: below the 999 variables that SQLite may be limited to.
What is left waits for the next tick."""

_MAX_TTL_S: Final = 60.0
_MARGIN_S: Final = 2.0


def sweep_health() -> int | None:
    """Probe every node that is due. Returns how many; None when another run is at it."""
    config = proxy_config_current()
    with run_claim("nodes.sweep_health", ttl_s(Work.CHECK, config)) as claim:
        if claim is None:
            return None
        probed = 0
        began = timezone.now()
        while batch := nodes_claim(Work.CHECK, began, config):
            probe_and_save(batch, NodeClient.health, config)
            probed += len(batch)
            claim.renew()
        _tell_redis(latencies_changed=probed > 0)
    return probed


def refresh_models() -> int | None:
    """Look at what the due nodes hold, and those that a data plane found to be out of date."""
    config = proxy_config_current()
    with run_claim("nodes.refresh_models", ttl_s(Work.REFRESH, config)) as claim:
        if claim is None:
            return None
        asked = 0
        began = timezone.now()
        _wanted_become_due(began)
        _stale_become_due()
        while batch := nodes_claim(Work.REFRESH, began, config):
            probe_and_save(batch, NodeClient.inventory, config)
            asked += len(batch)
            claim.renew()
    return asked


def nodes_claim(work: Work, began: dt.datetime, config: ProxyConfig) -> list[Node]:
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


def probe_and_save(batch: list[Node], question: Question, config: ProxyConfig) -> None:
    """Ask a batch of nodes at once and write down what was found."""
    targets = [target_of(node) for node in batch]
    findings_save(ask(targets, question, settings.NODE_ADDRESS_POLICY, config), config)


def ttl_s(work: Work, config: ProxyConfig) -> float:
    """How long a run may be silent: two intervals, but never less than one batch takes."""
    batch_s = config.probe_timeout_s
    if work is Work.REFRESH:
        batch_s = max(batch_s, INVENTORY_TIMEOUT_S)
    least = batch_s + _MARGIN_S
    return max(least, min(2 * work.interval_s(config), _MAX_TTL_S))


def _wanted_become_due(now: dt.datetime) -> None:
    """Nodes that a data plane found to hold something else than we say (a listed model is gone)."""
    wanted: set[uuid.UUID] = set()
    for instance in instances_read(redis_client()):
        for node_id in instance.report.refresh_wanted if instance.report else ():
            with contextlib.suppress(ValueError):  # a report is foreign text
                wanted.add(uuid.UUID(node_id))
    if wanted:
        settled = now - dt.timedelta(seconds=WANTED_SPACING_S)
        lately = Node.objects.filter(pk__in=wanted, refresh_claimed_at__lte=settled)
        lately.update(refresh_claimed_at=None)


def _stale_become_due() -> None:
    """Nodes whose models a data plane has just changed: looked at now, without spacing, because an
    operator or a client waits to see what was pulled or deleted.

    Taken before they are asked: a change that is told after this is told to the next tick. A run
    killed in between loses the hint, which the regular refresh makes good.
    """
    told = cast("list[bytes]", redis_client().spop(keys.STALE_INVENTORY, MAX_TOLD))
    stale: set[uuid.UUID] = set()
    for node_id in told:
        with contextlib.suppress(ValueError):  # whoever can write to Redis can write anything
            stale.add(uuid.UUID(node_id.decode(errors="replace")))
    if stale:
        Node.objects.filter(pk__in=stale).update(refresh_claimed_at=None)


def _tell_redis(*, latencies_changed: bool) -> None:
    """Latencies in one write, and the sign of life that the supervisor's watchdog looks at."""
    pipe = redis_client().pipeline(transaction=True)
    pipe.set(keys.SWEEP_FINISHED_AT, f"{time.time():.3f}")
    if latencies_changed:
        rows = Node.objects.exclude(latency_s=None).values_list("pk", "latency_s")
        latencies: dict[Any, Any] = {str(pk): f"{latency_s:.6f}" for pk, latency_s in rows}
        pipe.delete(keys.LATENCIES)  # nodes that are gone leave with it
        if latencies:
            pipe.hset(keys.LATENCIES, mapping=latencies)
    try:
        pipe.execute()
    except redis.RedisError as error:
        _log.warning("sweep_not_told", error=type(error).__name__)
