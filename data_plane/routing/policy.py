"""The one object that chooses nodes. Pure: the time and the dice are arguments.

The data plane, the simulator and the tests use the same. It is told what happens to each request
(`sent`, `first_byte`, `finished` or `aborted`) and what nodes have in memory (`ps_seen`), and asked
for nodes (`choose`; `quick` for the usual request under `least_active`, which needs no more than
counts). Times are seconds of one monotonic clock.
"""

from __future__ import annotations

from functools import partial
from itertools import count
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from data_plane.routing.choose import Choice, Rankings, any_left, choose, search
from data_plane.routing.events import Arrival, Hold, NoNode, Reason
from data_plane.routing.fleet import Fleet
from data_plane.routing.learning import Learned
from data_plane.routing.lessons import learn
from data_plane.routing.place import Flight
from data_plane.routing.pools import key_of
from data_plane.routing.predict import COST, cheapest, lacks, nearest
from data_plane.routing.preload import KEPT_S, Preload, load_for, most_saving
from data_plane.routing.ranking import Journal
from data_plane.routing.shadow import Shadow
from data_plane.routing.shortlist import Shortlists, unhung
from data_plane.routing.slow_start import WINDOW_S, SlowStart
from data_plane.routing.weighing import Weighing
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from data_plane.routing.events import Finished
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.routing.predict import Demand, Estimate
    from shared.snapshot import LoadedModel

EXPLORED_SHARE: Final = 0.01
SMALL_TOKENS: Final = 500
"""One in a hundred small requests goes to a node that nothing was heard of for long."""

TRIED_MORE_S: Final = 30.0
"""Between two requests that are sent to a node whose slots are taken, to learn of further ones."""

_NOTHING: Final[Mapping[str, int]] = MappingProxyType({})
_NOBODY: Final[frozenset[str]] = frozenset()


class Policy:
    """See above. `loads` are active counts over the whole fleet, where somebody keeps them; else
    the policy counts what it is told of. `latencies` are round trips in seconds.
    """

    def __init__(
        self,
        dice: Callable[[], float],
        *,
        loads: Callable[[], Mapping[str, float]] | None = None,
        journal: Journal | None = None,
        latencies: Mapping[str, float] | None = None,
        slow_start_s: float = WINDOW_S,
    ) -> None:
        self._dice = dice
        counts: dict[str, float] = {}
        self._counts = counts if loads is None else None
        self._loads = loads if loads is not None else lambda: counts
        self._journal = journal if journal is not None else Journal()
        self._latencies: Mapping[str, float] = latencies if latencies is not None else {}
        self._learned = Learned()
        self._shadow = Shadow()
        self._shortlists = Shortlists()
        self.fleet = Fleet(self._shadow, self._shortlists, self._journal.note)
        self.slow_start = SlowStart(self._journal.note, slow_start_s)
        self._shares = self.slow_start.shares
        self.rankings = Rankings(
            self._journal, dice, lambda model: self._shadow.holding(key_of(model)), self._shares
        )
        self._weighing = Weighing(
            self._learned, self._shadow, self.fleet, are_loads_ours=loads is None
        )
        self._tickets = count(1)
        self._pools: Pools | None = None
        self._said: dict[str, tuple[LoadedModel, ...]] = {}
        self._last: tuple[Arrival, Estimate, Demand] | None = None
        self.errors: list[float] = []
        """Of predictions that came due, as log(actual / predicted) of the time to the first byte;
        to be taken by whoever counts them.
        """

    # What happens

    def use(self, pools: Pools, now: float) -> None:
        """A new snapshot is in force."""
        self._pools = pools
        self.slow_start.use(pools, now)
        self._weighing.use(pools)
        known, sizes = frozenset(pools.nodes), self._weighing.sizes
        self._learned.keep(known, sizes)
        self._shadow.keep(known)
        self.fleet.use(known, sizes)
        self._shortlists.clear()
        for node in pools.nodes.values():
            if self._said.get(node.id) != node.loaded:
                self._said[node.id] = node.loaded
                self.ps_seen(node.id, node.loaded, now)
        for node_id in self._said.keys() - known:
            del self._said[node_id]

    def ps_seen(self, node_id: str, loaded: Iterable[LoadedModel], now: float) -> None:
        """A node says what it has in memory."""
        keyed = [(self._weighing.key_of(model), model) for model in loaded]
        if self._shadow.seen(node_id, keyed, now):
            self._journal.note(node_id)
        self._shortlists.changed(node_id)

    def sent(self, arrival: Arrival, node_id: str, now: float) -> int:
        """A request is on its way to a node. Returns the ticket to tell the rest by."""
        ticket = next(self._tickets)
        found, demand = self._chosen(arrival, node_id, now)
        flight = Flight(arrival, node_id, demand.key, now)
        flight.tokens, flight.uncached, flight.hit = demand.tokens, demand.tokens, 0.0
        if found is not None:
            flight.uncached, flight.hit, flight.ttft_s = found.uncached, found.hit, found.ttft_s
            flight.wait_s, flight.load_s = found.wait_s, found.load_s
            flight.decode_s, flight.left_s = found.decode_s, found.slot_s
            flight.work_s, flight.write_s = found.work_s, found.write_s
            if found.rates.is_bounded and not found.is_free:
                self._learned.pair(node_id, demand.key).tried_more_at = now
        self._shadow.sent(ticket, flight, demand.size_bytes, now)
        self._learned.of_model(demand.key).arrived(now)
        self._count(node_id, 1)
        self._shortlists.sent(node_id, demand.key, arrival.blocks)
        self.fleet.sent(node_id, demand.key, arrival.blocks)
        return ticket

    def first_byte(self, ticket: int, now: float) -> None:
        """The answer has begun."""
        self._shadow.first_byte(ticket, now)

    def finished(self, ticket: int, finished: Finished, now: float) -> None:
        """The answer is whole."""
        flight = self._ended(ticket, now)
        if flight is not None:
            error = learn(self._learned, flight, finished, now)
            self._shadow.learn_cached(flight)
            if error is not None:
                self.errors.append(error)
                del self.errors[:-1_000]

    def aborted(self, ticket: int, now: float) -> None:
        """The answer broke, never began, or the client has left."""
        self._ended(ticket, now)

    def load_failed(self, ticket: int, now: float) -> None:
        """A load that was begun for `preload` has come to nothing."""
        flight = self._ended(ticket, now)
        if flight is not None:
            self._shadow.not_loaded(flight.node_id, flight.key)
            self._journal.note(flight.node_id)

    def tick(self, now: float) -> list[tuple[str, str]]:
        """Once a second or so. Returns loads that hang, as (node, model), each once."""
        self._shadow.presume(now)
        self.slow_start.tick(now)
        return self._shadow.watch(now)

    def _ended(self, ticket: int, now: float) -> Flight | None:
        flight = self._shadow.ended(ticket, now)
        if flight is not None:
            self._count(flight.node_id, -1)
            self._shortlists.changed(flight.node_id)
        return flight

    def _count(self, node_id: str, change: int) -> None:
        if self._counts is not None:
            self._counts[node_id] = self._counts.get(node_id, 0.0) + change
            self._journal.note(node_id)

    # What is asked

    def quick(self, pools: Pools, canonical: str, down: AbstractSet[str]) -> Choice | None:
        """The choice of `least_active` when nothing speaks against a holder; None: ask `choose`."""
        return self.rankings.choose(pools, canonical, self._loads(), down)

    def choose(  # noqa: PLR0913 - every input of the choice is an argument
        self,
        arrival: Arrival,
        now: float,
        *,
        excluded: AbstractSet[str] = _NOBODY,
        down: AbstractSet[str] = _NOBODY,
        may_hold: bool = False,
        ahead: Mapping[str, int] = _NOTHING,
        same_digest: bool = False,
        panic: bool = False,
        pools: Pools | None = None,
    ) -> Choice | Hold | NoNode:
        """Pick a node. `pools` are those that the request goes by, if not the ones in force.
        `ahead` are held requests for this model that come first, by the node that they wait for.

        Who may be chosen is what `choose.choose` says. Raises RuntimeError before `use`.
        """
        pools = pools if pools is not None else self._pools
        if pools is None:
            raise RuntimeError("no snapshot is in force: call `use` first")
        strategy = pools.strategy_of(arrival.canonical)
        if strategy is Strategy.PREDICTED and arrival.canonical in pools.models:
            held: list[Hold] = []

            def pick(holders: tuple[PoolNode, ...]) -> Choice | None:
                usable = [
                    node for node in holders if node.id not in down and node.id not in excluded
                ]
                return self._predicted(
                    arrival,
                    usable,
                    now,
                    ahead,
                    held if may_hold else None,
                    explain=pools.config.explain,
                )

            is_left = partial(any_left, excluded=excluded, down=down)
            choice = search(
                pools, arrival.canonical, pick, is_left, same_digest=same_digest, panic=panic
            )
            return held[0] if held else choice
        latencies: Mapping[str, float] = {}
        if strategy is Strategy.LOWEST_LATENCY and arrival.canonical in pools.models:
            latencies = self.first_bytes(arrival, pools, now)
        return choose(
            pools,
            arrival.canonical,
            strategy,
            loads=self._loads(),
            latencies=latencies,
            dice=self._dice,
            excluded=excluded,
            down=down,
            loaded=self._loaded(arrival),
            shares=self._shares,
            same_digest=same_digest,
            panic=panic,
        )

    def estimates(
        self, arrival: Arrival, nodes: Iterable[PoolNode], now: float
    ) -> list[tuple[Estimate, bool]]:
        """Each of these nodes as `choose` weighs it under `predicted`, and whether a load hangs
        there. Changes nothing.
        """
        demand, loads, few = self._weighing.demand(arrival, now), self._loads(), list(nodes)
        able = {node.id for node in few if unhung(self._shadow, [node], demand.key, or_all=False)}
        ahead = self.slow_start.feigned(few, loads, {}) if self._shares else _NOTHING
        return [
            (
                self._weighing.weigh(node, demand, now, loads, ahead.get(node.id, 0)),
                node.id not in able,
            )
            for node in few
        ]

    def preload(  # noqa: PLR0913 - every input of the choice is an argument
        self,
        arrival: Arrival,
        held: int,
        wait_s: float,
        now: float,
        *,
        excluded: AbstractSet[str] = _NOBODY,
        pools: Pools | None = None,
    ) -> Preload | None:
        """The node that should load the model because so many requests are held for it, the last
        of them, `arrival`, for `wait_s`; None when that does not pay (`routing.preload`) or would
        thrash. Changes nothing: whoever begins the load says so by `sent`, and how it ends.

        Only idle nodes are looked at, at which nothing has to leave that was in use lately
        (`KEPT_S`), and only while no node loads this model.
        """
        pools = pools if pools is not None else self._pools
        entry = pools.models.get(arrival.canonical) if pools is not None else None
        key = self._weighing.key_of(arrival)
        if entry is None or self._shadow.is_loading(key, now):
            return None
        size, loads, since = self._weighing.size_of(key), self._loads(), now - KEPT_S
        able = [
            node
            for node in entry.active
            if node.id not in excluded
            and not loads.get(node.id)
            and self._shadow.has_room(node.id, key, size, since)
        ]
        if not able:
            return None
        few = self._shortlists.pick(able, key, ())
        cold = [each for each, hangs in self.estimates(arrival, few, now) if not hangs]
        found = most_saving(cold, held, wait_s)
        if found is None:
            return None
        return Preload(found[0].node, load_for(arrival), found[0].load_s, found[1])

    def _predicted(  # noqa: PLR0913 - as above
        self,
        arrival: Arrival,
        usable: list[PoolNode],
        now: float,
        ahead: Mapping[str, float],
        held: list[Hold] | None,
        *,
        explain: bool,
    ) -> Choice | None:
        if not usable:
            return None
        demand, candidates, loads = self._weighing.demand(arrival, now), len(usable), self._loads()
        if self._shares:
            ahead = self.slow_start.feigned(usable, loads, ahead)
        left = unhung(self._shadow, usable, demand.key)
        few = self._shortlists.pick(left, demand.key, demand.blocks)
        found = [
            self._weighing.weigh(node, demand, now, loads, ahead.get(node.id, 0) if ahead else 0)
            for node in few
        ]
        if len(few) < candidates:
            for each in found:
                self._shortlists.weighed(each.node.id, demand.key, each.cost_s)
        found.sort(key=COST)
        best, reason = self._best_of(found, demand, now)
        self._last = (arrival, best, demand)
        if held is not None and self._is_full(best, demand.key, now):
            held.append(Hold(best.ttft_s, best.node.id))
        if candidates == 1:
            reason = Reason.ONLY
        runner_up = ""
        if explain:  # said in words, which takes as long as weighing a node
            runner_up = lacks(best, next((each for each in found if each is not best), None))
        return Choice(best.node, reason, candidates, best.terms(), runner_up)

    def _is_full(self, best: Estimate, key: str, now: float) -> bool:
        """Whether it is known that a request would wait there. Now and then one is sent all the
        same, first in the node's own queue: if it does not wait, there is a slot more.
        """
        if best.is_free or not best.rates.is_bounded:
            return False
        pair = self._learned.pair(best.node.id, key)
        is_told = not pair.slots()[1]  # by the operator
        return is_told or best.active > best.rates.slots or now - pair.tried_more_at < TRIED_MORE_S

    def _best_of(
        self, found: list[Estimate], demand: Demand, now: float
    ) -> tuple[Estimate, Reason]:
        """The cheapest; of nearly equals the idlest, then the dice; and the two exceptions."""
        best = cheapest(found, self._dice)
        near = nearest(found, best) if demand.blocks else None
        if near is not None:
            return near, Reason.PREFIX
        if demand.tokens < SMALL_TOKENS and len(found) > 1 and self._dice() < EXPLORED_SHARE:
            unheard = self._weighing.unheard(found, demand.key, now)
            if unheard is not None:
                return unheard, Reason.EXPLORED
        return best, Reason.PREDICTED

    def first_bytes(self, arrival: Arrival, pools: Pools, now: float) -> dict[str, float]:
        """Until the first byte, for each holder that anything is known of, as `lowest_latency`
        compares them.
        """
        entry = pools.models[arrival.canonical]
        return self._weighing.first_bytes(arrival, entry, now, self._loads(), self._latencies)

    def _loaded(self, arrival: Arrival) -> AbstractSet[str]:
        if arrival.canonical not in self._weighing.keys:
            return _NOBODY
        return self._shadow.holding(self._weighing.key_of(arrival))

    def _chosen(self, arrival: Arrival, node_id: str, now: float) -> tuple[Estimate | None, Demand]:
        """What was predicted of the node when it was chosen; else what is predicted now."""
        last, self._last = self._last, None
        if last is not None and last[0] is arrival and last[1].node.id == node_id:
            return last[1], last[2]
        demand = self._weighing.demand(arrival, now)
        node = self._pools.nodes.get(node_id) if self._pools is not None else None
        if node is None:
            return None, demand
        return self._weighing.weigh(node, demand, now, self._loads()), demand

    # Restarts

    @property
    def has_learned(self) -> bool:
        """Whether there is anything that a restart would lose."""
        return bool(self._learned.pairs or self._learned.habits)

    def learned(self) -> bytes:
        """What a restart shall know, as JSON."""
        return self._learned.dump()

    def remember(self, kept: bytes) -> None:
        """Take in what `learned` gave before. Raises ValueError when it is something else."""
        self._learned.load(kept)
