"""The active and the standby pool: an index of one snapshot, built once and never changed.

A node is in the active pool when the operator wishes it and the health sweep does not know it to
be bad; a verdict that is not there yet counts as good, or a new node would wait for a sweep.
What this instance has seen with its own eyes is not in here (`circuit`): it changes by the second.

Copies of a model on several nodes stand in for each other only when their digests agree. Where
they drifted apart, operators say which version is served (`ProxyConfig.digest_drift`): the one that
most active nodes hold, ties going to the newest copy; or the newest of the active nodes. The others
help out when no holder of that version can (`drifted`). Or any version counts as served, but for
vectors, which do not compare (`any_version`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from data_plane.routing.pool_node import PoolNode
from shared.releases import SUFFIXES, UNKNOWN_RELEASE, Release, release_of
from shared.snapshot import DriftPolicy, Model, Strategy, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

    from shared.snapshot import Node, ProxyConfig, Snapshot

CLOUD_SUFFIXES: Final = (":cloud", "-cloud")
"""Of a canonical name that Ollama runs elsewhere. A model of this machine has no such tag."""

NOT_WISHED: Final = "disabled"
NO_REASON: Final = "unhealthy"

UNREADABLE: Final = datetime(1970, 1, 1, tzinfo=UTC)
"""Older than any model."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class ModelEntry:
    """Who holds a model. Nodes that the operator does not wish stand nowhere in here."""

    canonical: str
    model: Model
    """The version that is served."""

    active: tuple[PoolNode, ...]
    """Active holders of that version."""

    drifted: tuple[PoolNode, ...] = ()
    """Active holders of another version."""

    any_version: tuple[PoolNode, ...] = ()
    """Both, where operators want drifted copies to be served alike; else empty."""

    standby: tuple[PoolNode, ...] = ()
    """Holders of any version that only the verdict of the sweep keeps out."""

    copies: tuple[str, ...] = ()
    """When each holder of that version got it (RFC 3339, as the nodes say it)."""

    @property
    def modified_at(self) -> str:
        """The latest of these times."""
        return latest(self.copies)


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Pools:
    """Everything that a request is routed by, at one revision."""

    epoch: str
    revision: int
    config: ProxyConfig
    nodes: dict[str, PoolNode]
    active: tuple[PoolNode, ...]
    standby: tuple[PoolNode, ...]
    """Wished or not; each says why."""

    models: dict[str, ModelEntry]
    """By canonical name."""

    cloud: ModelEntry | None = None
    """Who can pass on requests for models of the cloud, which no node has to list; None: nobody."""

    oldest: Release = UNKNOWN_RELEASE
    """The least release of any node: a request that asks for no more can go everywhere."""

    @classmethod
    def build(cls, snapshot: Snapshot) -> Pools:
        """Index a snapshot, with work in proportion to the models on all nodes."""
        nodes = {node.id: _pool_node(node) for node in snapshot.nodes}
        everyone = nodes.values()
        return cls(
            epoch=snapshot.epoch,
            revision=snapshot.revision,
            config=snapshot.config,
            nodes=nodes,
            active=tuple(node for node in everyone if node.standby is None),
            standby=tuple(node for node in everyone if node.standby is not None),
            models=_models(snapshot, nodes),
            cloud=_cloud([node for node in everyone if node.wished and node.release >= SUFFIXES]),
            oldest=min((node.release for node in everyone), default=UNKNOWN_RELEASE),
        )

    def entry(self, canonical: str) -> ModelEntry | None:
        """Who may be asked for a model; None: it is unknown."""
        found = self.models.get(canonical)
        return self.cloud if found is None and canonical.endswith(CLOUD_SUFFIXES) else found

    def strategy_of(self, canonical: str) -> Strategy:
        """How a node is chosen for this model: the most exact of the patterns that match its name,
        which is the longest, or else what the cluster goes by.
        """
        wishes = self.config.model_strategies
        if not wishes:
            return self.config.strategy
        matching = [pattern for pattern in wishes if fnmatchcase(canonical, pattern)]
        if canonical in wishes:
            return wishes[canonical]
        return wishes[max(matching, key=len)] if matching else self.config.strategy

    @property
    def predicts(self) -> bool:
        """Whether some model goes by a strategy that predicts, and so learns."""
        wishes = {self.config.strategy, *self.config.model_strategies.values()}
        return not wishes <= {Strategy.LEAST_ACTIVE}

    def older_than(self, release: Release) -> frozenset[str]:
        """Nodes that are too old for what came with this release."""
        return frozenset(node.id for node in self.nodes.values() if node.release < release)


def _pool_node(node: Node) -> PoolNode:
    if not node.wished:
        standby: str | None = NOT_WISHED
    elif node.verdict is Verdict.UNHEALTHY:
        standby = node.reason or NO_REASON
    else:
        standby = None
    return PoolNode(
        id=node.id,
        name=node.name,
        url=node.address,
        # A weight of zero would divide by zero; such a node is used when no other can be.
        weight=max(node.weight, 1e-9),
        max_parallel=float("inf") if node.max_parallel is None else node.max_parallel,
        version=node.version,
        release=release_of(node.version),
        sealed_token=node.sealed_token,
        wished=node.wished,
        standby=standby,
        loaded=node.loaded,
    )


def _cloud(nodes: list[PoolNode]) -> ModelEntry | None:
    if not nodes:
        return None
    return ModelEntry(
        canonical="",
        model=Model(name="", canonical=""),
        active=tuple(node for node in nodes if node.standby is None),
        standby=tuple(node for node in nodes if node.standby is not None),
    )


@dataclass(slots=True)
class _Holding:
    """Who holds one entry of the snapshot's table of models."""

    active: list[PoolNode] = field(default_factory=list)
    standby: list[PoolNode] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)


def _models(snapshot: Snapshot, nodes: dict[str, PoolNode]) -> dict[str, ModelEntry]:
    holdings = [_Holding() for _ in snapshot.models]
    for listed in snapshot.nodes:
        node = nodes[listed.id]
        if not node.wished:
            continue
        is_active = node.standby is None
        for available in listed.available:
            holding = holdings[available.model]
            (holding.active if is_active else holding.standby).append(node)
            holding.copies.append(available.modified_at)
    by_name: dict[str, list[tuple[Model, _Holding]]] = {}
    for model, holding in zip(snapshot.models, holdings, strict=True):
        if holding.copies:
            by_name.setdefault(model.canonical, []).append((model, holding))
    policy = snapshot.config.digest_drift
    return {canonical: _entry(held, policy) for canonical, held in by_name.items()}


def _entry(held: list[tuple[Model, _Holding]], policy: DriftPolicy) -> ModelEntry:
    """Choose the version that is served, among the table's entries of one name."""
    if len(held) == 1:  # nearly always: all copies are the same
        model, holding = held[0]
        return ModelEntry(
            canonical=model.canonical,
            model=model,
            active=_once(holding.active),
            standby=_once(holding.standby),
            copies=tuple(holding.copies),
        )
    versions: dict[str, list[tuple[Model, _Holding]]] = {}
    for model, holding in held:
        versions.setdefault(model.digest, []).append((model, holding))
    chosen = max(versions.values(), key=_newest if policy is DriftPolicy.NEWEST else _rank)
    digest = chosen[0][0].digest
    others = [holding for model, holding in held if model.digest != digest]
    holdings = [holding for _, holding in chosen]
    active = _once(node for holding in holdings for node in holding.active)
    drifted = _once(node for holding in others for node in holding.active)
    return ModelEntry(
        canonical=chosen[0][0].canonical,
        # Of entries that differ in more than the digest, show the one that says most.
        model=max((model for model, _ in chosen), key=_completeness),
        active=active,
        drifted=drifted,
        any_version=_once((*active, *drifted)) if drifted and policy is DriftPolicy.ANY else (),
        standby=_once(node for _, holding in held for node in holding.standby),
        copies=tuple(copy for holding in holdings for copy in holding.copies),
    )


def _rank(version: list[tuple[Model, _Holding]]) -> tuple[int, int, datetime]:
    holdings = [holding for _, holding in version]
    return (
        sum(len(holding.active) for holding in holdings),
        sum(len(holding.standby) for holding in holdings),
        instant(latest([copy for holding in holdings for copy in holding.copies])),
    )


def _newest(version: list[tuple[Model, _Holding]]) -> tuple[bool, datetime, int]:
    count, _, copied_at = _rank(version)
    return count > 0, copied_at, count


def _completeness(model: Model) -> tuple[bool, bool]:
    return model.capabilities is not None, bool(model.family)


def _once(nodes: Iterable[PoolNode]) -> tuple[PoolNode, ...]:
    """A node that lists one name twice (in two spellings, or two versions) counts once."""
    return tuple(dict.fromkeys(nodes))


def latest(texts: Iterable[str]) -> str:
    """The latest of some RFC 3339 times; "" of none.

    Times of one offset compare as text, so that of many thousands only a few are parsed. Within
    one second the text may err, which matters to nobody.
    """
    newest: dict[str, str] = {}
    for text in texts:
        offset = "Z" if text.endswith("Z") else text[-6:]
        if text > newest.get(offset, ""):
            newest[offset] = text
    return max(newest.values(), key=instant, default="")


@lru_cache(maxsize=4_096)
def instant(text: str) -> datetime:
    """A node's RFC 3339 time, to compare with; what cannot be read counts as UNREADABLE."""
    try:
        parsed = datetime.fromisoformat(text)
        aware = parsed if parsed.tzinfo is not None else parsed.replace(tzinfo=UTC)
        return aware.astimezone(UTC)
    except (ValueError, OverflowError):
        return UNREADABLE


def key_of(model: Model) -> str:
    """What a model is in memory by: copies under two names are one."""
    return model.digest or model.canonical
