"""Which node answers, and why.

One pass over all holders of the model, nothing is allocated per holder. (`Rankings` needs no pass
and is what a usual request goes by; this is for retries and whatever else leaves nodes out.) Of
equals, those that have the model in memory come first; among these the dice decide. Who may be
chosen:

  1. active holders of the version that is served;
  2. else active holders of another version, unless the answers of two versions do not mix;
  3. else, when the caller says that the verdicts are too old to go by (`panic`), holders that
     only a verdict keeps out: health data must never be what causes a total outage.

Never chosen: nodes that were tried for this request, that this instance has seen failing, that
the operator does not wish. A node that works on as many requests as it can is the last to be
chosen, but is: whether to wait instead is not decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Final

from data_plane.routing.events import NoNode, NoNodeKind, Reason
from data_plane.routing.ranking import WHOLE, Ranking
from data_plane.routing.strategies import SCORES
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet

    from data_plane.routing.events import Terms
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.routing.ranking import Journal
    from data_plane.routing.strategies import Score
    from shared.snapshot import Model


class Choice:
    """The node, and what the record says of the choice."""

    __slots__ = ("candidates", "node", "reason", "runner_up", "terms")

    def __init__(
        self,
        node: PoolNode,
        reason: Reason,
        candidates: int,
        terms: Terms | None = None,
        runner_up: str = "",
    ) -> None:
        self.node = node
        self.reason = reason
        self.candidates = candidates
        """Holders that could have been chosen."""

        self.terms = terms
        """Of the strategies that predict."""

        self.runner_up = runner_up
        """The second best, and what it lacked."""


_FULL: Final = 1e12
"""Added to the score of a node that works on as much as it can. Above any other score, so that
such nodes are compared among themselves only when there is no other."""

Pick = Callable[["tuple[PoolNode, ...]"], Choice | None]
"""The best of some holders; None when none of them can be chosen."""

_USUAL: Final = {strategy: Reason(strategy.value) for strategy in SCORES}


class _View:
    """What is known besides the snapshot."""

    __slots__ = ("dice", "down", "excluded", "latencies", "loaded", "loads", "shares")

    def __init__(  # noqa: PLR0913 - as for `choose`
        self,
        *,
        loads: Mapping[str, float],
        latencies: Mapping[str, float],
        excluded: AbstractSet[str],
        down: AbstractSet[str],
        loaded: AbstractSet[str],
        shares: Mapping[str, float],
        dice: Callable[[], float],
    ) -> None:
        self.loads = loads
        self.latencies = latencies
        self.excluded = excluded
        self.down = down
        self.loaded = loaded
        self.shares = shares
        self.dice = dice


def choose(  # noqa: PLR0913 - every input of the choice is an argument, so that it can be replayed
    pools: Pools,
    canonical: str,
    strategy: Strategy,
    *,
    loads: Mapping[str, float],
    latencies: Mapping[str, float],
    dice: Callable[[], float],
    excluded: AbstractSet[str] = frozenset(),
    down: AbstractSet[str] = frozenset(),
    loaded: AbstractSet[str] = frozenset(),
    shares: Mapping[str, float] = WHOLE,
    same_digest: bool = False,
    panic: bool = False,
) -> Choice | NoNode:
    """Pick a node for a model. `dice` gives a float in [0, 1), `loaded` has it in memory, `shares`
    is how much of a node's weight counts, where that is not all.
    """
    view = _View(
        loads=loads,
        latencies=latencies,
        excluded=excluded,
        down=down,
        loaded=loaded,
        shares=shares,
        dice=dice,
    )
    score, usual = SCORES[strategy], _USUAL[strategy]

    def pick(holders: tuple[PoolNode, ...]) -> Choice | None:
        return _pick(holders, score, usual, view)

    is_left = partial(any_left, excluded=excluded, down=down)
    return search(pools, canonical, pick, is_left, same_digest=same_digest, panic=panic)


def search(  # noqa: PLR0913 - as above
    pools: Pools,
    canonical: str,
    pick: Pick,
    is_left: Callable[[tuple[PoolNode, ...]], bool],
    *,
    same_digest: bool,
    panic: bool,
) -> Choice | NoNode:
    """Go through those who may be chosen, in their order, until one of them can be."""
    entry = pools.entry(canonical)
    if entry is None:
        return NoNode(NoNodeKind.UNKNOWN_MODEL)
    choice = pick(entry.active if same_digest else entry.any_version or entry.active)
    if choice is None and not same_digest:
        choice = _relabelled(pick(entry.drifted), Reason.DRIFTED)
    if choice is None and panic:
        choice = _relabelled(pick(entry.standby), Reason.PANIC)
    if choice is not None:
        return choice
    return NoNode(NoNodeKind.NO_NODE, is_left(entry.standby))


def any_left(
    holders: tuple[PoolNode, ...], excluded: AbstractSet[str], down: AbstractSet[str]
) -> bool:
    """Whether nothing of our own speaks against some of these holders."""
    return any(node.id not in down and node.id not in excluded for node in holders)


class Rankings:
    """The quick way to the same choice, when nothing speaks against any holder: see `Ranking`."""

    def __init__(
        self,
        journal: Journal,
        dice: Callable[[], float],
        loaded: Callable[[Model], AbstractSet[str]] = lambda _model: frozenset(),
        shares: Mapping[str, float] = WHOLE,
    ) -> None:
        """`loaded` gives the nodes that have a model in memory, kept up to date; `shares` as in
        `choose`, changes of which are journalled.
        """
        self._journal = journal
        self._dice = dice
        self._loaded = loaded
        self._shares = shares
        self._pools: Pools | None = None
        self._rankings: dict[str, Ranking | None] = {}
        """None: another strategy, no active holder, or versions that are served alike."""

    def choose(
        self,
        pools: Pools,
        canonical: str,
        loads: Mapping[str, float],
        down: AbstractSet[str],
    ) -> Choice | None:
        """Pick a node for a model; None when `choose` has to."""
        if pools is not self._pools:
            self._pools = pools
            self._rankings.clear()
        try:
            ranking = self._rankings[canonical]
        except KeyError:
            if canonical not in pools.models:
                return None
            ranking = self._rankings[canonical] = self._ranked(pools, canonical, loads)
        if ranking is None or (down and not ranking.is_without(down)):
            return None
        count = len(ranking.holders)
        node = ranking.lowest(self._dice)
        reason = _USUAL[Strategy.LEAST_ACTIVE]
        if count == 1:
            reason = Reason.ONLY
        elif ranking.is_full(node):
            reason = Reason.ALL_FULL
        return Choice(node, reason, count)

    def _ranked(self, pools: Pools, canonical: str, loads: Mapping[str, float]) -> Ranking | None:
        entry = pools.models[canonical]
        if not entry.active or entry.any_version:
            return None
        if pools.strategy_of(canonical) is not Strategy.LEAST_ACTIVE:
            return None
        return Ranking(entry.active, loads, self._journal, self._loaded(entry.model), self._shares)


def _pick(  # noqa: C901, PLR0912 - the hot loop; a call per holder more would cost as much again
    holders: tuple[PoolNode, ...], score: Score, reason: Reason, view: _View
) -> Choice | None:
    """The lowest score; then whoever has the model in memory; equals of that share by the dice, and
    so do the unknown with the best.
    """
    loads, latencies, dice, shares = view.loads, view.latencies, view.dice, view.shares
    excluded, down, loaded = view.excluded, view.down, view.loaded
    best: PoolNode | None = None
    best_score = float("inf")
    equals = 0
    is_best_loaded = False
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
        if shares:
            value /= shares.get(node_id, 1.0)
        if active_count >= node.max_parallel:
            value += _FULL
        is_loaded = node_id in loaded
        if value < best_score or (value == best_score and is_loaded and not is_best_loaded):
            best, best_score, equals, is_best_loaded = node, value, 1, is_loaded
        elif value == best_score and is_loaded is is_best_loaded:
            # Each of n equals is kept with a chance of 1/n, in one pass and without a list.
            equals += 1
            if dice() * equals < 1.0:
                best = node
    if unknown is not None and _is_unknown_first(best, best_score, unknowns, dice):
        return Choice(unknown, Reason.UNKNOWN_LATENCY, candidates)
    if best is None:
        return None
    if candidates == 1:
        reason = Reason.ONLY
    elif best_score >= _FULL:
        reason = Reason.ALL_FULL
    return Choice(best, reason, candidates)


def _is_unknown_first(
    best: PoolNode | None, best_score: float, unknowns: int, dice: Callable[[], float]
) -> bool:
    """Whether to try the unknown: of n such and one best known, each gets one chance in n + 1."""
    return best is None or best_score >= _FULL or dice() * (unknowns + 1) >= 1.0


def _relabelled(choice: Choice | None, reason: Reason) -> Choice | None:
    if choice is not None:
        choice.reason = reason
    return choice
