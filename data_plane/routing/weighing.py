"""What a request would cost at a node, put together from what was learned of it, what it is doing,
and what other instances do there. The formulas are `predict`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_plane.routing.learning import DEFAULT_BYTES
from data_plane.routing.pools import key_of
from data_plane.routing.predict import ANSWER_WEIGHT, COPY_S, Demand, weigh

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from data_plane.routing.events import Arrival
    from data_plane.routing.fleet import Fleet
    from data_plane.routing.learning import Learned
    from data_plane.routing.place import Runner
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import ModelEntry, Pools
    from data_plane.routing.predict import Estimate
    from data_plane.routing.shadow import Shadow
    from shared.snapshot import LoadedModel


UNHEARD_S: Final = 600.0
"""A node that nothing was heard of for so long is sent a small request now and then."""


class Weighing:
    """One per policy. `are_loads_ours`: the counts that are given are of our requests only."""

    def __init__(
        self, learned: Learned, shadow: Shadow, fleet: Fleet, *, are_loads_ours: bool
    ) -> None:
        self._learned = learned
        self._shadow = shadow
        self._fleet = fleet
        self._are_loads_ours = are_loads_ours
        self.keys: dict[str, str] = {}
        """What each model of the snapshot is known by: its digest, if all agree on one."""

        self.sizes: dict[str, float] = {}
        """In bytes, by that key."""

    def use(self, pools: Pools) -> None:
        """A new snapshot is in force."""
        self.keys = {name: key_of(entry.model) for name, entry in pools.models.items()}
        self.sizes = {
            self.keys[name]: float(entry.model.size_bytes) or DEFAULT_BYTES
            for name, entry in pools.models.items()
        }

    def key_of(self, about: Arrival | LoadedModel) -> str:
        """What a model is known by, that is in memory or that a request is for."""
        return about.digest or self.keys.get(about.canonical, about.canonical)

    def size_of(self, key: str) -> float:
        """In bytes; a usual one when nobody says."""
        return self.sizes.get(key, DEFAULT_BYTES)

    def demand(self, arrival: Arrival, now: float) -> Demand:
        """What the request takes of whatever node."""
        key = self.key_of(arrival)
        habits = self._learned.of_model(key)
        tokens = arrival.prompt_tokens * habits.factor if arrival.prompt_tokens else habits.prompt
        output = 0.0 if arrival.is_embedding else habits.output
        if arrival.max_output is not None:
            output = min(output, float(arrival.max_output))
        weight = ANSWER_WEIGHT if arrival.is_streamed else 1.0
        sharers = habits.per_second(now) * COPY_S / (1.0 + len(self._shadow.holding(key)))
        return Demand(
            key,
            arrival.options_key,
            tokens,
            output,
            arrival.blocks,
            self.size_of(key),
            weight,
            sharers,
            self._shadow.busy(key, now),
        )

    def weigh(
        self,
        node: PoolNode,
        demand: Demand,
        now: float,
        loads: Mapping[str, float],
        others: float = 0.0,
    ) -> Estimate:
        """What it costs there. `loads` are active counts by node, `others` are requests at this one
        that are in no count.
        """
        node_id, key = node.id, demand.key
        place = self._shadow.places.get(node_id)
        said = self._fleet.nodes.get(node_id)
        beside = 0
        if self._are_loads_ours:
            elsewhere = float(said.total) if said is not None else 0.0
        else:  # what the fleet's count has beyond ours
            ours = place.active if place is not None else 0
            elsewhere = max(loads.get(node_id, 0.0) - ours, 0.0)
        if said is not None and elsewhere:
            others += said.others(key, elsewhere)
            beside = said.busy(key, place)
        else:  # of whatever model
            others += elsewhere
        rates = self._learned.rates(node_id, key, self.sizes, node.max_parallel)
        return weigh(node, place, rates, demand, now, others=others, beside=beside, loss=self._loss)

    def first_bytes(
        self,
        arrival: Arrival,
        entry: ModelEntry,
        now: float,
        loads: Mapping[str, float],
        latencies: Mapping[str, float],
    ) -> dict[str, float]:
        """Of each holder: the predicted wait plus the measured time to the first byte. Where that
        was not measured yet, the round trip stands in for it: too little, so that it gets measured.
        """
        demand, found = self.demand(arrival, now), {}
        for node in (*entry.active, *entry.drifted, *entry.standby):
            each = self.weigh(node, demand, now, loads)
            rest_s = each.rates.first_byte_s
            if rest_s is None:
                rest_s = latencies.get(node.id)
            if rest_s is not None:
                found[node.id] = max(each.wait_s, each.load_s if each.is_cold else 0.0) + rest_s
        return found

    def unheard(self, found: Iterable[Estimate], key: str, now: float) -> Estimate | None:
        """An idle node with the model in memory that nothing was heard of for long."""
        for each in found:
            pair = self._learned.pairs.get(each.node.id, {}).get(key)
            is_unheard = pair is None or now - pair.last_at > UNHEARD_S
            if is_unheard and each.is_free and not each.is_cold:
                return each
        return None

    def _loss(self, node: PoolNode, runner: Runner, now: float) -> float:
        """What it costs that a runner leaves: its load and what it has cached, as far as they will
        be wanted again soon.
        """
        copies = max(len(self._shadow.holding(runner.key)) - 1, 0)
        wanted = self._learned.of_model(runner.key).per_second(now) * 60.0 / (1.0 + 2.0 * copies)
        rates = self._learned.rates(node.id, runner.key, self.sizes, node.max_parallel)
        load_s = min(1.0, wanted) * rates.load_s * (0.5 if copies else 1.0)
        return load_s + runner.prompts.worth(now) / rates.prefill
