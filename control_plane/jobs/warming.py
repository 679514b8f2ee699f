"""Keeping models in memory by policy: what `warmth` has to know, and the jobs that it asks for.

Each copy is a `load` job of its own, with the history, the audit record and the cancel button of
every job, asked for by `WARMTH` instead of an operator.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import structlog
from django.utils import timezone
from redis.exceptions import RedisError

from control_plane.common import redis
from control_plane.common.claims import run_claim
from control_plane.common.reports import instances_read
from control_plane.jobs import services, warmth
from control_plane.jobs.errors import ModelBusyError, TooManyJobsError
from control_plane.jobs.models import JobPart
from control_plane.jobs.selectors import parts_open
from control_plane.jobs.warmth import NodeView, Standing, Wish
from control_plane.nodes.inventory import available_models, loaded_models
from control_plane.nodes.memory import bytes_of, memory_of
from control_plane.nodes.selectors import nodes_all
from control_plane.proxy_config.selectors import proxy_config_current, warm_models_current
from shared.model_names import ModelName
from shared.snapshot import DriftPolicy

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable, Mapping, Sequence

    from control_plane.nodes.models import Node
    from shared.snapshot import Model

_log = structlog.get_logger(__name__)

CLAIM_TTL_S: Final = 60.0
GROWTH: Final = 1.25
"""In memory a model takes more than on disk, by its context. Until it was seen there."""

_Copy = tuple["Model", str]


def models_keep_warm() -> int | None:
    """Ask for the loads that are due. Returns how many; None when another run is at it."""
    if not warm_models_current():  # most runs end here, without a claim
        return 0
    with run_claim("jobs.keep_warm", CLAIM_TTL_S) as claim:
        if claim is None:
            return None
        return sum(_ask_for(wish, node) for wish, node in warmth.chosen(wishes_judged()))


def wishes_judged() -> list[Wish]:
    """Every model that is to be kept warm, and how its nodes stand to it, by canonical name."""
    wanted = warm_models_current()
    if not wanted:
        return []
    now = timezone.now()
    nodes = list(nodes_all(with_models=True).order_by("name"))
    copies = {node.pk: _wished_copies(node, wanted) for node in nodes}
    views = _views(nodes, copies, wanted, now)
    policy = proxy_config_current().digest_drift
    wishes = [_wish(name, wanted[name], copies, views, policy) for name in sorted(wanted)]
    return warmth.judged(wishes, views, now.timestamp())


def _ask_for(wish: Wish, node: NodeView) -> bool:
    model = ModelName.parse(wish.canonical).display
    try:
        job = services.job_create_warm(wish.canonical, node.id, node.name)
    except (ModelBusyError, TooManyJobsError) as error:
        _log.warning("warm_load_refused", model=model, node=node.name, code=error.code)
        return False
    _log.info("warm_load_asked", model=model, node=node.name, job=str(job.pk))
    return True


def _wished_copies(node: Node, wanted: Mapping[str, int]) -> dict[str, _Copy]:
    if not hasattr(node, "inventory"):
        return {}
    held = available_models(node.inventory.available)
    return {copy[0].canonical: copy for copy in held if copy[0].canonical in wanted}


def _views(
    nodes: Sequence[Node],
    copies: Mapping[uuid.UUID, Mapping[str, _Copy]],
    wanted: Mapping[str, int],
    now: dt.datetime,
) -> list[NodeView]:
    active, tried = _active_counts(), _tried(wanted, now)
    opened: dict[uuid.UUID, dict[str, str]] = {}
    for part in parts_open():
        opened.setdefault(part.node_id, {})[part.canonical] = part.job.kind
    return [
        NodeView(
            id=node.pk,
            name=node.name,
            is_active=node.is_in_active_pool,
            digests={name: model.digest for name, (model, _) in copies[node.pk].items()},
            loaded=loaded_models(node.inventory.loaded),
            memory=memory_of(node.inventory.memory),
            active_count=active[str(node.pk)],
            opened=opened.get(node.pk, {}),
            tried=tried.get(node.pk, {}),
        )
        for node in nodes
        if copies[node.pk]
    ]


def _active_counts() -> Counter[str]:
    """Node id -> requests that it is processing, for all instances. Without Redis nobody knows, and
    all are taken to be equal.
    """
    counts: Counter[str] = Counter()
    try:
        instances = instances_read(redis.client())
    except RedisError as error:
        _log.warning("active_counts_unknown", error=type(error).__name__)
        return counts
    for instance in instances:
        for node_id, seen in instance.report.nodes.items() if instance.report else ():
            counts[node_id] += seen.active_count
    return counts


def _tried(wanted: Iterable[str], now: dt.datetime) -> dict[uuid.UUID, dict[str, list[float]]]:
    """Node -> model -> when the policy asked for loads of it there."""
    since = now - dt.timedelta(seconds=warmth.HISTORY_S)
    parts = JobPart.objects.filter(
        job__is_warmth=True, canonical__in=list(wanted), job__created_at__gte=since
    )
    tried: dict[uuid.UUID, dict[str, list[float]]] = {}
    rows = parts.values_list("node_id", "canonical", "job__created_at", "finished_at")
    for node_id, canonical, asked_at, finished_at in rows:
        instant = (finished_at or asked_at).timestamp()
        tried.setdefault(node_id, {}).setdefault(canonical, []).append(instant)
    return tried


def _wish(
    canonical: str,
    wanted: int,
    copies: Mapping[uuid.UUID, Mapping[str, _Copy]],
    views: Sequence[NodeView],
    policy: DriftPolicy,
) -> Wish:
    there = [(view, copies[view.id][canonical]) for view in views if canonical in copies[view.id]]
    return Wish(canonical, wanted, _served(there, policy), _size_bytes(there, views))


def _size_bytes(there: Sequence[tuple[NodeView, _Copy]], views: Sequence[NodeView]) -> int:
    """What it takes in memory: the most that was seen of it, else guessed from its files."""
    digests = {model.digest for _, (model, _) in there}
    loaded = (model for view in views for model in view.loaded)
    seen = [bytes_of(model) for model in loaded if model.digest in digests]
    return max(seen, default=0) or max(
        (int(model.size_bytes * GROWTH) for _, (model, _) in there), default=0
    )


def _served(there: Sequence[tuple[NodeView, _Copy]], policy: DriftPolicy) -> str | None:
    """The version that the data planes serve; None: whichever a node has."""
    if policy is DriftPolicy.ANY or not there:
        return None
    counts = Counter(copy[0].digest for view, copy in there if view.is_active)
    newest: dict[str, str] = {}
    for _, (model, modified_at) in there:
        newest[model.digest] = max(newest.get(model.digest, ""), modified_at)
    if policy is DriftPolicy.NEWEST:
        return max(newest, key=lambda digest: (counts[digest] > 0, newest[digest]))
    return max(newest, key=lambda digest: (counts[digest], newest[digest]))


def warm_public(wish: Wish) -> dict[str, Any]:
    """A wish as JSON."""
    return {
        "model": ModelName.parse(wish.canonical).display,
        "canonical": wish.canonical,
        "wanted": wish.wanted,
        "warm": wish.count(Standing.WARM),
        "loading": wish.count(Standing.LOADING),
        "missing": wish.missing,
        "detail": _sentence(wish),
        "nodes": [
            {
                "node_id": stand.node.id,
                "node": stand.node.name,
                "standing": stand.standing,
                "detail": warmth.SENTENCES[stand.standing],
                "not_before": None
                if stand.until is None
                else dt.datetime.fromtimestamp(stand.until, dt.UTC),
            }
            for stand in wish.stands
        ],
    }


def _sentence(wish: Wish) -> str:
    """Why copies are missing, and what to do."""
    if not wish.missing:
        return ""
    holders = sum(stand.standing is not Standing.STANDBY for stand in wish.stands)
    if holders < wish.wanted:
        return (
            f"{holders} node(s) of the active pool have it on disk, and {wish.wanted} copies are "
            "wished for: pull it to more nodes, or wish for fewer copies."
        )
    if wish.count(Standing.READY):
        return "It is loaded at the next model refresh."
    return "No node can load it now; each says why."
