"""Our strategies: the product's own policy object, told and asked as the data plane does it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import msgspec
from fakes.snapshots import digest_of, make_loaded, make_model, make_snapshot
from routing.rules import ASKED_AGAIN, Asked, Rule
from routing.scenarios import holders_of

from data_plane.admission.queue import Queue, Waiting
from data_plane.admission.shares import ANSWER_WEIGHT, Shares
from data_plane.routing.choose import Choice
from data_plane.routing.events import Arrival, Finished, Hold
from data_plane.routing.policy import Policy
from data_plane.routing.pools import Pools
from shared.model_names import ModelName
from shared.snapshot import ProxyConfig, Strategy

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from routing.runner import Record, Runner
    from routing.scenarios import Scenario

MOST_BLOCKS: Final = 256  # the product hashes 64 KiB of a prompt
ROUND_TRIP_S: Final = 0.001  # what probes of the data plane measure on the way to any node
GUESSED: Final = (0.8, 1.3)  # how far off bytes / 4 is, over or under


class Ours(Rule):
    """A strategy. `says` are what nodes say beyond old ones: the cached tokens."""

    strategy = Strategy.PREDICTED
    holds = False
    is_told = False
    """Whether it knows speeds, slots and times to load from the beginning."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.arrivals: dict[int, Arrival] = {}
        self.tickets: dict[int, int] = {}
        self.held: dict[int, tuple[str, str]] = {}
        self.predicted_s: dict[int, float] = {}
        """Of those that are held: until the first token, when it was asked for last."""

        self.canonical = {m.name: ModelName.parse(m.name).canonical for m in scenario.models}
        round_trips = {name: ROUND_TRIP_S for name, _ in scenario.nodes}
        self.policy = Policy(dice.random, latencies=round_trips)
        if self.is_told:
            self.policy.remember(_truth(scenario))
        self.policy.use(_pools(scenario, self.strategy, is_told=self.is_told), 0.0)
        self.all = {name for name, _ in scenario.nodes}

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str | None:
        """As the policy says."""
        arrival = self.arrivals.get(asked.number) or self._arrival(asked)
        down = self.all.difference(nodes) if len(nodes) < len(self.all) else frozenset()
        choice = self.policy.choose(
            arrival, now, down=down, may_hold=self.holds, ahead=self._ahead(asked)
        )
        if isinstance(choice, Hold):
            self.held[asked.number] = asked.request.model, choice.node_id
            self.predicted_s[asked.number] = choice.predicted_s
            return None
        self.held.pop(asked.number, None)
        self.predicted_s.pop(asked.number, None)
        assert isinstance(choice, Choice), choice
        return choice.node.id

    def _ahead(self, asked: Asked) -> Counter[str]:
        """Who waits for which node, of those before this one."""
        found: Counter[str] = Counter()
        for number, (model, node) in self.held.items():
            if number == asked.number:
                break
            if model == asked.request.model:
                found[node] += 1
        return found

    def _arrival(self, asked: Asked) -> Arrival:
        request = asked.request
        low, high = GUESSED
        guess = asked.tokens * (low + (high - low) * (asked.number * 0.618 % 1.0))
        arrival = Arrival(
            canonical=self.canonical[request.model],
            digest=digest_of(request.model),
            options_key="" if request.num_ctx is None else f'{{"num_ctx":{request.num_ctx}}}',
            prompt_tokens=max(1, round(guess)),
            blocks=asked.blocks[:MOST_BLOCKS],
            is_embedding=request.is_embedding,
            principal=request.principal,
        )
        self.arrivals[asked.number] = arrival
        return arrival

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """Tell it."""
        self.tickets[asked.number] = self.policy.sent(self.arrivals[asked.number], node, now)

    def first_byte(self, asked: Asked, node: str, now: float) -> None:
        """Tell it."""
        self.policy.first_byte(self.tickets[asked.number], now)

    def finished(self, asked: Asked, node: str, record: Record, now: float) -> None:
        """Tell it what the last record of any Ollama says."""
        del self.arrivals[asked.number]
        self.policy.finished(self.tickets.pop(asked.number), self._said(record), now)

    def _said(self, record: Record) -> Finished:
        return Finished(
            load_s=record.load_s + 0.005,  # a model in memory takes some milliseconds too
            prompt_tokens=record.prompt_tokens,
            prompt_s=record.prompt_s,
            eval_tokens=record.eval_tokens,
            eval_s=record.eval_s,
            total_s=record.total_s + 0.005,
        )

    def aborted(self, asked: Asked, node: str, now: float) -> None:
        """Tell it."""
        self.policy.aborted(self.tickets.pop(asked.number), now)

    def ps_seen(self, node: str, runners: Iterable[Runner], now: float) -> None:
        """Tell it."""
        loaded = [
            make_loaded(
                runner.model.name,
                digest=digest_of(runner.model.name),
                size_bytes=int(runner.memory),
                size_vram_bytes=int(runner.memory),
                context_length=runner.context,
            )
            for runner in runners
        ]
        self.policy.ps_seen(node, loaded, now)

    def tick(self, now: float) -> None:
        """Tell it."""
        self.policy.tick(now)


class LeastActive(Ours):
    """The default."""

    strategy = Strategy.LEAST_ACTIVE


class LowestLatency(Ours):
    """The least predicted wait plus measured first byte."""

    strategy = Strategy.LOWEST_LATENCY


class Predicted(Ours):
    """With late binding: the product's own fair queue says who is next."""

    holds = True

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.shares = Shares()
        self.queue: Queue[Asked] = Queue(self.shares)
        self.places: dict[int, Waiting[Asked]] = {}
        self.loading: dict[int, str] = {}
        """Models, by the number of the request that stands for the load."""

        self.loaded: list[str] = []
        """Where loads were begun."""

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str | None:
        """As the policy says; who has to wait queues up."""
        node = super().pick(asked, nodes, now)
        place = self.places.get(asked.number)
        if node is None and place is None:
            place = self.places[asked.number] = Waiting(
                asked,
                lane=asked.request.model,
                principal=asked.request.principal,
                priority=0,
                tokens=asked.tokens,
                arrived_at=now,
            )
            self.queue.join(place)
        elif node is not None and place is not None:
            self.queue.served(place, now)
            self.queue.leave(self.places.pop(asked.number))
        return node

    def next_of(self, waiting: list[Asked], now: float) -> list[Asked]:
        """The first of each lane. Who comes first is told of nobody that waits, and so on."""
        first = [
            place.item
            for lane in self.queue.lanes
            for place in self.queue.first(lane, ASKED_AGAIN, now)
        ]
        order = dict.fromkeys(asked.number for asked in first) | dict.fromkeys(self.held)
        self.held = {number: self.held[number] for number in order}
        return first

    def preloads(self, now: float) -> list[tuple[Asked, str]]:
        """As `WaitingRoom` and `Preloading` ask for them: one at a time for each model."""
        begun = []
        for lane in self.queue.lanes:
            places = self.queue.first(lane, ASKED_AGAIN, now)
            known = [each.item for each in places if each.item.number in self.predicted_s]
            if not known or lane in self.loading.values():
                continue
            last, held = known[-1], self.queue.count(lane)
            wait_s = self.predicted_s[last.number] * held / len(known)
            found = self.policy.preload(self.arrivals[last.number], held, wait_s, now)
            if found is not None:
                asked = _load_of(last, -1 - len(self.loaded))
                self.loaded.append(found.node.id)
                self.loading[asked.number] = lane
                self.arrivals[asked.number] = found.arrival
                begun.append((asked, found.node.id))
        return begun

    def aborted(self, asked: Asked, node: str, now: float) -> None:
        """Its node has died."""
        self.loading.pop(asked.number, None)
        super().aborted(asked, node, now)

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """The prompt is charged as it is sent."""
        super().sent(asked, node, now)
        self.shares.charge(asked.request.principal, asked.tokens)

    def finished(self, asked: Asked, node: str, record: Record, now: float) -> None:
        """And the answer as it is there."""
        self.loading.pop(asked.number, None)
        super().finished(asked, node, record, now)
        self.shares.charge(asked.request.principal, ANSWER_WEIGHT * record.eval_tokens)


class Compatible(Predicted):
    """Asked through /v1, where nodes say how many tokens, and no durations."""

    def _said(self, record: Record) -> Finished:
        return Finished(prompt_tokens=record.prompt_tokens, eval_tokens=record.eval_tokens)


class Told(Predicted):
    """It need not learn."""

    is_told = True


def _load_of(asked: Asked, number: int) -> Asked:
    """A request that asks for nothing but the model of this one."""
    request = replace(
        asked.request,
        number=number,
        after=None,
        principal="",
        prompt=((number, 1),),
        answer=(number, 1),
    )
    return Asked(request, (), ())


BOUND: Final = "ours: predicted, told"
OURS: Final[dict[str, type[Rule]]] = {
    "ours: least_active": LeastActive,
    "ours: lowest_latency": LowestLatency,
    "ours: predicted, not held": Ours,
    "ours: predicted": Predicted,
    "ours: predicted, /v1": Compatible,
    BOUND: Told,
}


def _pools(scenario: Scenario, strategy: Strategy, *, is_told: bool) -> Pools:
    made = {
        model.name: make_model(model.name, digest=digest_of(model.name), size_bytes=int(model.size))
        for model in scenario.models
    }
    held: dict[str, list[Any]] = {name: [] for name, _ in scenario.nodes}
    for model in scenario.models:
        for name in holders_of(scenario, model):
            held[name].append(made[model.name])
    fields = {
        name: {"max_parallel": preset.slots} if is_told else {} for name, preset in scenario.nodes
    }
    snapshot = make_snapshot(held, fields=fields)
    return Pools.build(msgspec.structs.replace(snapshot, config=ProxyConfig(strategy=strategy)))


def _truth(scenario: Scenario) -> bytes:
    """What a policy that has seen everything would have kept."""
    pairs: dict[str, dict[str, Any]] = {}
    for name, preset in scenario.nodes:
        for model in scenario.models:
            pairs.setdefault(name, {})[digest_of(model.name)] = {
                "prefill": [preset.prefill / model.scale] * 4,
                "steps": [model.scale / preset.decode] * 4,
                "load_s": 1.0 + model.size / preset.load_rate,
                "slots": [(preset.slots, 4.0, 0.0), (preset.slots + 1, 0.0, 4.0)],
            }
    return json.dumps({"pairs": pairs, "habits": {}}).encode()
