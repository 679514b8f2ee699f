"""Which nodes a job is for, when the operator does not name them all. Reads only.

pull           as many nodes of the active pool as `pull_replicas` of the proxy config says (0:
               all), those that have the model first, then those with the fewest models on disk;
               all that have it in any case, so that their versions do not drift apart. With
               `replicas` exactly so many
load           one node of the active pool that has the model (or `replicas`; 0: all): those that
               have it in memory first, then those with the fewest models there
delete, copy   every node that has the model
unload         every node that has it in memory, as far as is known, else on disk
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Final

from django.db.models import Q

from control_plane.jobs.errors import (
    ModelNotFoundError,
    NoNodeError,
    TooFewNodesError,
    UnknownNodesError,
)
from control_plane.nodes.inventory import loaded_models
from control_plane.nodes.models import Node
from control_plane.nodes.orders import Kind
from control_plane.nodes.selectors import nodes_holding
from control_plane.proxy_config.selectors import proxy_config_current
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from django.db.models import QuerySet

MAX_NODES: Final = 1_000
PLACED: Final = frozenset({Kind.PULL, Kind.LOAD})
"""Kinds that take `replicas`: the others are for every node that has the model."""


def nodes_for(
    kind: Kind, canonical: str, named: Sequence[str] | None, replicas: int | None
) -> list[Node]:
    """The nodes; raises one of `errors` when there are none, or not enough."""
    if named is not None:
        return _named(named)
    if kind is Kind.PULL:
        nodes = _active()
        count = _pull_replicas(nodes, canonical) if replicas is None else replicas
        return _ranked(nodes, count, lambda node: _pull_rank(node, canonical))
    holders = _nodes().filter(nodes_holding(canonical))
    if kind is Kind.LOAD:
        holders = holders.filter(_IN_ACTIVE_POOL)
    found = list(holders)
    if not found:
        raise ModelNotFoundError(canonical)
    if kind is Kind.LOAD:
        count = 1 if replicas is None else replicas
        return _ranked(found, count, lambda node: _load_rank(node, canonical))
    if kind is Kind.UNLOAD:
        return [node for node in found if _has_loaded(node, canonical)] or found
    return found


def left_out_of(
    kind: Kind, canonical: str, named: Sequence[str] | None, replicas: int | None
) -> list[str]:
    """Names of nodes that `nodes_for` would have taken for a pull had they been well. Of so many as
    were asked for others took their place, unless they have the model.
    """
    if kind is not Kind.PULL or named is not None:
        return []
    away = _nodes().filter(active=True, health=Verdict.UNHEALTHY.value)
    if proxy_config_current().pull_replicas if replicas is None else replicas:
        away = away.filter(nodes_holding(canonical))
    return [node.name for node in away]


_IN_ACTIVE_POOL: Final = Q(active=True) & ~Q(health=Verdict.UNHEALTHY.value)


def _nodes() -> QuerySet[Node]:
    return Node.objects.select_related("inventory").defer("inventory__available").order_by("name")


def _active() -> list[Node]:
    found = list(_nodes().filter(_IN_ACTIVE_POOL))
    if not found:
        raise NoNodeError
    return found


def _named(named: Sequence[str]) -> list[Node]:
    """By id or by name; an id that is also somebody's name is the id."""
    ids = {text: uuid.UUID(text) for text in named if _is_uuid(text)}
    nodes = list(_nodes().filter(Q(pk__in=ids.values()) | Q(name__in=named)))
    by_id = {node.pk: node for node in nodes}
    by_name = {node.name: node for node in nodes}
    found = {
        text: by_id.get(ids.get(text, uuid.UUID(int=0))) or by_name.get(text) for text in named
    }
    unknown = [text for text, node in found.items() if node is None]
    if unknown:
        raise UnknownNodesError(unknown)
    return list({node.pk: node for node in found.values() if node is not None}.values())


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True


def _pull_replicas(nodes: list[Node], canonical: str) -> int:
    """How many nodes of the active pool a pull is for that does not say it; 0: all."""
    wished = proxy_config_current().pull_replicas
    holding = sum(_holds(node, canonical) for node in nodes)
    return min(len(nodes), max(wished, holding)) if wished else 0


def _ranked(
    nodes: list[Node], replicas: int, rank: Callable[[Node], tuple[bool, int]]
) -> list[Node]:
    if not replicas:
        return nodes
    if replicas > len(nodes):
        raise TooFewNodesError(len(nodes))
    return sorted(nodes, key=rank)[:replicas]  # stable: by name where the ranks are equal


def _pull_rank(node: Node, canonical: str) -> tuple[bool, int]:
    if not hasattr(node, "inventory"):
        return (True, 0)
    return (not _holds(node, canonical), node.inventory.available_count)


def _holds(node: Node, canonical: str) -> bool:
    return hasattr(node, "inventory") and f"\n{canonical}\n" in node.inventory.names


def _load_rank(node: Node, canonical: str) -> tuple[bool, int]:
    return (not _has_loaded(node, canonical), node.inventory.loaded_count)


def _has_loaded(node: Node, canonical: str) -> bool:
    return any(model.canonical == canonical for model in loaded_models(node.inventory.loaded))
