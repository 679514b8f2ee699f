"""Which node answers, and why.

One pass over the holders of the model, nothing is allocated per holder. Of more holders than
`COMPARE_ALL` only some are looked at, drawn by the dice: the best of 2·log2(n) of them is nearly
always among the best of all, and a thousand nodes cost little more to choose from than ten. When
most of those drawn cannot be chosen, all are looked at. Who may be chosen:

  1. active holders of the version that is served;
  2. else active holders of another version, unless the answers of two versions do not mix;
  3. else, when the caller says that the verdicts are too old to go by (`panic`), holders that
     only a verdict keeps out: health data must never be what causes a total outage.

Never chosen: nodes that were tried for this request, that this instance has seen failing, that
the operator does not wish. A node that works on as many requests as it can is the last to be
chosen, but is: whether to wait instead is not decided here.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.ranking import Ranking
from data_plane.routing.strategies import SCORES
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from data_plane.routing.pools import PoolNode, Pools
    from data_plane.routing.ranking import Journal
    from data_plane.routing.strategies import Score

_FULL: Final = 1e12
"""Added to the score of a node that works on as much as it can. Above any other score, so that
such nodes are compared among themselves only when there is no other."""

COMPARE_ALL: Final = 24
"""Up to so many holders are all compared. Of a thousand, twenty are."""


class Reason(StrEnum):
    """Why this node."""

    ONLY = "only_holder"
    LEAST_ACTIVE = "least_active"
    LOWEST_LATENCY = "lowest_latency"
    UNKNOWN_LATENCY = "unknown_latency"
    ALL_FULL = "all_full"
    DRIFTED = "drifted_version"
    PANIC = "panic"


_USUAL: Final = {strategy: Reason(strategy.value) for strategy in SCORES}


class NoNodeKind(StrEnum):
    """Why none."""

    UNKNOWN_MODEL = "unknown_model"
    """No wished node holds it: 404."""

    NO_NODE = "no_node"
    """It is held, by nodes that cannot be used now or were tried: 503."""


class Decision(msgspec.Struct, frozen=True):
    """The node, and what the record says of the choice."""

    node: PoolNode
    reason: Reason
    candidates: int
    """Holders that could have been chosen."""


class NoNode(msgspec.Struct, frozen=True):
    """Nobody can be chosen."""

    kind: NoNodeKind
    only_verdicts: bool = False
    """Wished holders are left that nothing but a verdict keeps out: see `panic`."""


class _View(msgspec.Struct, frozen=True, kw_only=True):
    """What is known besides the snapshot."""

    loads: Mapping[str, float]
    latencies: Mapping[str, float]
    excluded: AbstractSet[str]
    down: AbstractSet[str]
    dice: Callable[[], float]


def choose(  # noqa: PLR0913 - every input of the decision is an argument, so that it can be replayed
    pools: Pools,
    canonical: str,
    strategy: Strategy,
    *,
    loads: Mapping[str, float],
    latencies: Mapping[str, float],
    dice: Callable[[], float],
    excluded: AbstractSet[str] = frozenset(),
    down: AbstractSet[str] = frozenset(),
    same_digest: bool = False,
    panic: bool = False,
) -> Decision | NoNode:
    """Pick a node for a model. `dice` gives a float in [0, 1)."""
    entry = pools.entry(canonical)
    if entry is None:
        return NoNode(NoNodeKind.UNKNOWN_MODEL)
    view = _View(loads=loads, latencies=latencies, excluded=excluded, down=down, dice=dice)
    score = SCORES[strategy]
    usual = _USUAL[strategy]
    decision = _pick_some(entry.active, score, usual, view)
    if decision is None and not same_digest:
        decision = _relabelled(_pick(entry.drifted, score, usual, view), Reason.DRIFTED)
    if decision is not None:
        return decision
    if panic:
        decision = _relabelled(_pick(entry.standby, score, usual, view), Reason.PANIC)
    if decision is not None:
        return decision
    return NoNode(NoNodeKind.NO_NODE, _any_left(entry.standby, view))


class Rankings:
    """The quick way to the same choice, when nothing speaks against any holder: see `Ranking`."""

    def __init__(self, journal: Journal, dice: Callable[[], float]) -> None:
        self._journal = journal
        self._dice = dice
        self._pools: Pools | None = None
        self._rankings: dict[str, Ranking] = {}

    def choose(
        self,
        pools: Pools,
        canonical: str,
        loads: Mapping[str, float],
        down: AbstractSet[str],
    ) -> Decision | None:
        """Pick a node for a model; None when `choose` has to."""
        if pools is not self._pools:
            self._pools = pools
            self._rankings.clear()
        ranking = self._rankings.get(canonical)
        if ranking is None:
            entry = pools.models.get(canonical)
            if entry is None or not entry.active:
                return None
            ranking = self._rankings[canonical] = Ranking(entry.active, loads, self._journal)
        if pools.config.strategy is not Strategy.LEAST_ACTIVE or not ranking.is_without(down):
            return None
        count = len(ranking.holders)
        node = ranking.lowest(self._dice)
        reason = _USUAL[Strategy.LEAST_ACTIVE]
        if count == 1:
            reason = Reason.ONLY
        elif ranking.is_full(node):
            reason = Reason.ALL_FULL
        return Decision(node, reason, count)


def _pick_some(
    holders: tuple[PoolNode, ...], score: Score, reason: Reason, view: _View
) -> Decision | None:
    """As `_pick`, but of many holders only some are looked at."""
    count = len(holders)
    if count > COMPARE_ALL:
        dice, size = view.dice, 2 * count.bit_length()
        drawn = tuple([holders[int(dice() * count)] for _ in range(size)])
        decision = _pick(drawn, score, reason, view)
        if decision is not None and decision.candidates * 2 >= size:
            return decision
    return _pick(holders, score, reason, view)


def _pick(  # noqa: C901, PLR0912 - the hot loop; a call per holder more would cost as much again
    holders: tuple[PoolNode, ...], score: Score, reason: Reason, view: _View
) -> Decision | None:
    """The lowest score; equals share by the dice, and so do the unknown with the best."""
    loads, latencies, dice = view.loads, view.latencies, view.dice
    excluded, down = view.excluded, view.down
    best: PoolNode | None = None
    best_score = float("inf")
    equals = 0
    unknown: PoolNode | None = None
    unknowns = candidates = 0
    for node in holders:
        node_id = node.id
        if node_id in down or node_id in excluded:
            continue
        candidates += 1
        active_count = loads.get(node_id, 0.0)
        value = score(node, active_count, latencies.get(node_id))
        if value is None:
            if active_count < node.max_parallel:
                unknowns += 1
                if dice() * unknowns < 1.0:
                    unknown = node
                continue
            value = 0.0
        if active_count >= node.max_parallel:
            value += _FULL
        if value < best_score:
            best, best_score, equals = node, value, 1
        elif value == best_score:
            # Each of n equals is kept with a chance of 1/n, in one pass and without a list.
            equals += 1
            if dice() * equals < 1.0:
                best = node
    if unknown is not None and _is_unknown_first(best, best_score, unknowns, dice):
        return Decision(unknown, Reason.UNKNOWN_LATENCY, candidates)
    if best is None:
        return None
    if candidates == 1:
        reason = Reason.ONLY
    elif best_score >= _FULL:
        reason = Reason.ALL_FULL
    return Decision(best, reason, candidates)


def _is_unknown_first(
    best: PoolNode | None, best_score: float, unknowns: int, dice: Callable[[], float]
) -> bool:
    """Whether to try the unknown: of n such and one best known, each gets one chance in n + 1."""
    return best is None or best_score >= _FULL or dice() * (unknowns + 1) >= 1.0


def _relabelled(decision: Decision | None, reason: Reason) -> Decision | None:
    return decision and Decision(decision.node, reason, decision.candidates)


def _any_left(holders: tuple[PoolNode, ...], view: _View) -> bool:
    return any(node.id not in view.down and node.id not in view.excluded for node in holders)
