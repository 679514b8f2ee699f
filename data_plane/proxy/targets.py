"""Which nodes an order is for: those that the query names, else a rule for each route.

pull           as many nodes of the active pool as `pull_replicas` of the proxy config says (0:
               all), those that have the model first, then those with the fewest models on disk;
               all that have it in any case, so that their versions do not drift apart. With
               `?replicas=n` exactly so many
create         the same, but where there are nodes that have the model to make it from, only these;
               and of these those that have the files (`blobs.Blobs.having`)
delete, copy   every node that has the model
push           one node that has the model
load           of the active nodes that have the model those named, or with `?replicas=n` so many
               (0: all): those that have it in memory first, then those with the fewest models there
unload         every active node that has the model, or those named of them

As the control plane places its jobs (control_plane/jobs/placement.py), so that both do the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from data_plane.proxy.answers import RefusedRequestError
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools

MAX_FIELDS: Final = 100
MAX_DIGITS: Final = 9
_TOO_MUCH: Final = "give either ?nodes= or ?replicas=, each once"
_NEARLY: Final = {"node": "nodes", "replica": "replicas"}
"""Whoever writes these means one node, and would be taken to mean all."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What the query says of nodes."""

    names: tuple[str, ...] = ()
    """Ids or names; empty: it names none."""

    replicas: int | None = None
    """0: every one; None: it says nothing."""

    at_least: int = 0
    """Then so many, of nodes that are to get a model, and all that have it; 0: every one. Of the
    proxy config."""


def wish_in(query: str, *, may_replicate: bool) -> Wish:
    """Read a query string. Raises RefusedRequestError."""
    if not query:
        return Wish()
    try:
        fields = parse_qs(query, keep_blank_values=True, max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise RefusedRequestError(ErrorCode.INVALID_NODES, _TOO_MUCH) from error
    for wrong, right in _NEARLY.items():
        if wrong in fields:
            raise RefusedRequestError(ErrorCode.INVALID_NODES, f"write ?{right}=, not ?{wrong}=")
    nodes, replicas = fields.get("nodes", []), fields.get("replicas", [])
    if len(nodes) + len(replicas) > 1:
        raise RefusedRequestError(ErrorCode.INVALID_NODES, _TOO_MUCH)
    if replicas:
        return Wish(replicas=_count(replicas[0], may_replicate=may_replicate))
    names = tuple(dict.fromkeys(name for each in nodes for name in each.split(",") if name))
    if nodes and not names:
        raise RefusedRequestError(ErrorCode.INVALID_NODES)
    return Wish(names)


def _count(text: str, *, may_replicate: bool) -> int:
    if not may_replicate:
        sentence = "this route takes no ?replicas=: it is for every node that has the model"
        raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)
    if not text.isascii() or not text.isdigit() or len(text) > MAX_DIGITS:
        sentence = "?replicas= takes a number of nodes; 0 is every one"
        raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)
    return int(text)


def named(wish: Wish, pools: Pools) -> tuple[PoolNode, ...]:
    """The nodes that a wish names, by id or by name. Raises RefusedRequestError for an unknown."""
    by_name = {node.name: node for node in pools.nodes.values()}
    found = {name: pools.nodes.get(name) or by_name.get(name) for name in wish.names}
    unknown = [name for name, node in found.items() if node is None]
    if unknown:
        sentence = f"no such node: {', '.join(unknown)[:200]}"
        raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)
    return tuple({node.id: node for node in found.values() if node is not None}.values())


def placed(
    wish: Wish, pools: Pools, canonical: str, down: AbstractSet[str], base: str = ""
) -> tuple[PoolNode, ...]:
    """Nodes that are to get a model, made from `base` if that is not empty.

    Raises RefusedRequestError.
    """
    if wish.names:
        return named(wish, pools)
    nodes = tuple(node for node in pools.active if node.id not in down)
    based = {node.id for node in holders(Wish(), pools, base)}
    nodes = tuple(node for node in nodes if node.id in based) or nodes
    if not nodes:
        raise RefusedRequestError(ErrorCode.NO_HEALTHY_NODE, "no node can be used at the moment")
    if wish.replicas is not None and wish.replicas > len(nodes):
        sentence = (
            f"only {len(nodes)} node(s) could take it now, not {wish.replicas}; ask for fewer"
        )
        raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)
    having = {node.id for node in holders(Wish(), pools, canonical)}
    count = wish.replicas
    if count is None and wish.at_least:
        count = max(wish.at_least, sum(node.id in having for node in nodes))
    if not count:
        return nodes
    counts = dict.fromkeys(pools.nodes, 0)
    for entry in pools.models.values():
        for node in (*entry.active, *entry.drifted):
            counts[node.id] += 1
    ranked = sorted(nodes, key=lambda node: (node.id not in having, counts[node.id], node.name))
    return tuple(ranked[:count])


def left_out(
    wish: Wish, pools: Pools, canonical: str, down: AbstractSet[str], base: str = ""
) -> tuple[str, ...]:
    """Names of nodes that `placed` would have chosen had they been well: they stay without the
    model, or with the version of it that they have, until somebody asks again.

    Of so many nodes as were asked for others took the place of those, unless they have the model.
    """
    if wish.names:
        return ()
    away = {
        node.id: node.name
        for node in pools.nodes.values()
        if node.wished and (node.standby is not None or node.id in down)
    }
    replicas = wish.at_least if wish.replicas is None else wish.replicas
    for limit in ([base] if base in pools.models else []) + ([canonical] if replicas else []):
        having = {node.id for node in holders(Wish(), pools, limit)}
        away = {node_id: name for node_id, name in away.items() if node_id in having}
    return tuple(sorted(away.values()))


def to_load(
    wish: Wish, pools: Pools, canonical: str, down: AbstractSet[str]
) -> tuple[PoolNode, ...]:
    """Nodes that are to load a model; none when none has it. Raises RefusedRequestError.

    A node that is named is among them even if it is down, so that it is named in the error.
    """
    entry = pools.models.get(canonical)
    having = (*entry.active, *entry.drifted) if entry is not None else ()
    if wish.names:
        nodes = named(wish, pools)
        lacking = [node.name for node in nodes if node not in having]
        if having and lacking:
            names = ", ".join(lacking)[:200]
            sentence = f"no active node that has the model: {names}; pull it there first"
            raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)
        return nodes if having else ()
    served = [node for node in (entry.active if entry is not None else ()) if node.id not in down]
    if served and wish.replicas is not None and wish.replicas > len(served):
        sentence = (
            f"only {len(served)} node(s) have the model and can be used now, not {wish.replicas}; "
            "ask for fewer, or pull it to more first"
        )
        raise RefusedRequestError(ErrorCode.INVALID_NODES, sentence)

    def rank(node: PoolNode) -> tuple[bool, int, str]:
        names = {loaded.canonical for loaded in node.loaded}
        return canonical not in names, len(names), node.name

    return tuple(sorted(served, key=rank)[: wish.replicas or None])


def holders(wish: Wish, pools: Pools, canonical: str) -> tuple[PoolNode, ...]:
    """Nodes that have a model, as far as is known, those included that are not well now."""
    if wish.names:
        return named(wish, pools)
    entry = pools.models.get(canonical)
    return (*entry.active, *entry.drifted, *entry.standby) if entry is not None else ()
