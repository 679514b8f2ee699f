"""How others choose, told again from their sources and manuals, each with its best documented
settings. What a rule counts and measures is what its original can see: its own requests.

None of them is handicapped: counts are exact, nodes that are dead are known at once, and a model is
only ever looked for where it fits.
"""
# ruff: noqa: B027 - most rules need not hear of most of what happens

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from routing.runner import Record, Runner
    from routing.scenarios import Request, Scenario


ASKED_AGAIN: Final = 24  # of each model


class Asked:
    """A request, with the blocks of its prompt, and of prompt and answer."""

    __slots__ = ("blocks", "number", "request", "tokens", "whole")

    def __init__(self, request: Request, blocks: tuple[int, ...], whole: tuple[int, ...]) -> None:
        self.request, self.blocks, self.whole = request, blocks, whole
        self.number, self.tokens = request.number, request.prompt_tokens


class Rule(ABC):
    """The least that a rule is: it counts its requests per node."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        self.scenario, self.dice = scenario, dice
        self.active: Counter[str] = Counter()

    @abstractmethod
    def pick(self, asked: Asked, nodes: list[str], now: float) -> str | None:
        """One of the nodes; None: it waits here, and is asked for again when an answer ends."""

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """The request is on its way."""
        self.active[node] += 1

    def first_byte(self, asked: Asked, node: str, now: float) -> None:
        """The first token is there."""

    def finished(self, asked: Asked, node: str, record: Record, now: float) -> None:
        """The answer is whole."""
        self.active[node] -= 1

    def aborted(self, asked: Asked, node: str, now: float) -> None:
        """The node has died under it."""
        self.active[node] -= 1

    def ps_seen(self, node: str, runners: Iterable[Runner], now: float) -> None:
        """What the node says is in its memory."""

    def tick(self, now: float) -> None:
        """A second has passed."""

    def preloads(self, now: float) -> list[tuple[Asked, str]]:
        """Loads that are to be begun ahead of any request, as requests that nobody has made."""
        return []

    def next_of(self, waiting: list[Asked], now: float) -> list[Asked]:
        """Those that are to be asked for again, in this order; `waiting` is in that of arrival."""
        tried: Counter[str] = Counter()
        found = []
        for asked in waiting:
            tried[asked.request.model] += 1
            if tried[asked.request.model] <= ASKED_AGAIN:
                found.append(asked)
        return found

    def _least(self, scores: Iterable[tuple[float, str]]) -> str:
        """The lowest, ties by the dice."""
        found = list(scores)
        least = min(found)[0]
        return self.dice.choice([node for score, node in found if score == least])


class Random(Rule):
    """The lower bound."""

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """Any."""
        return self.dice.choice(nodes)


class RoundRobin(Rule):
    """nginx, caddy, everybody's default."""

    turn = 0

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The next."""
        self.turn += 1
        return nodes[self.turn % len(nodes)]


class LeastConnections(Rule):
    """nginx `least_conn`, caddy `least_conn`, haproxy `leastconn`: equals take turns."""

    turn = 0

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The fewest."""
        self.turn += 1
        turned = nodes[self.turn % len(nodes) :] + nodes[: self.turn % len(nodes)]
        return min(turned, key=self.active.__getitem__)


class FirstLeast(Rule):
    """aivonx_proxy before its rewriting: of equals the first in the list."""

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The fewest."""
        return min(nodes, key=self.active.__getitem__)


class HeldLeast(Rule):
    """haproxy `leastconn` with `maxconn` slots for each model and node, and its queue."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.most = {name: preset.slots for name, preset in scenario.nodes}
        self.of_model: Counter[tuple[str, str]] = Counter()

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str | None:
        """The fewest, of those with room."""
        model = asked.request.model
        free = [node for node in nodes if self.of_model[model, node] < self.most[node]]
        if not free:
            return None
        return self._least((self.of_model[model, node], node) for node in free)

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """Count it."""
        self.of_model[asked.request.model, node] += 1

    def finished(self, asked: Asked, node: str, record: Record, now: float) -> None:
        """Count it no more."""
        self.of_model[asked.request.model, node] -= 1

    def aborted(self, asked: Asked, node: str, now: float) -> None:
        """The same."""
        self.of_model[asked.request.model, node] -= 1


class TwoChoices(Rule):
    """Power of two choices: the less busy of two."""

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """One of two."""
        two = self.dice.sample(nodes, min(2, len(nodes)))
        return min(two, key=self.active.__getitem__)


class Measured(Rule):
    """Remembers how long answers took."""

    WEIGHT: Final = 0.3

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.mean_s: dict[str, float] = {}
        self.sent_at: dict[int, float] = {}

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """Look at the clock."""
        super().sent(asked, node, now)
        self.sent_at[asked.number] = now

    def finished(self, asked: Asked, node: str, record: Record, now: float) -> None:
        """Look again."""
        super().finished(asked, node, record, now)
        took_s = now - self.sent_at.pop(asked.number)
        mean_s = self.mean_s.get(node, took_s)
        self.mean_s[node] = mean_s + self.WEIGHT * (took_s - mean_s)


class PeakEwma(Measured):
    """Finagle's and Linkerd's rule, with a mean in place of the peak, which is better here."""

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The least mean times requests."""
        return self._least(
            (self.mean_s.get(node, 0.0) * (self.active[node] + 1), node) for node in nodes
        )


class Prequal(Measured):
    """Hot and cold by requests in flight, then latency (NSDI 2024), of all nodes: no probes."""

    HOT: Final = 0.84

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The quickest that is not hot, else the least busy."""
        in_flight = sorted(self.active[node] for node in nodes)
        limit = in_flight[min(int(self.HOT * len(nodes)), len(nodes) - 1)]
        cold = [node for node in nodes if self.active[node] < limit or limit == 0]
        if cold:
            return self._least((self.mean_s.get(node, 0.0), node) for node in cold)
        return self._least((self.active[node], node) for node in nodes)


class Prefixes(Rule):
    """Remembers every prompt that a node has had, as the routers' trees do."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.seen: defaultdict[str, set[int]] = defaultdict(set)

    def shared(self, asked: Asked, node: str) -> float:
        """Of the prompt, the share that the node has had. Blocks are chained: halving finds it."""
        seen = self.seen[node]
        if not asked.blocks:
            return 0.0
        return bisect_right(asked.blocks, 0, key=lambda block: block not in seen) / len(
            asked.blocks
        )

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """Remember."""
        super().sent(asked, node, now)
        self.seen[node].update(asked.blocks)


class CacheAware(Prefixes):
    """SGLang's, smg's and vllm-router's `cache_aware`, at the settings of its struct."""

    MATCH: Final = 0.5
    ABSOLUTE = 32
    RELATIVE = 1.1

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The longest beginning, else the least busy; that too when they are out of balance."""
        counts = [self.active[node] for node in nodes]
        low, high = min(counts), max(counts)
        if not (high - low > self.ABSOLUTE and high > self.RELATIVE * low):
            share, node = max((self.shared(asked, node), node) for node in nodes)
            if share > self.MATCH:
                return node
        return self._least((self.active[node], node) for node in nodes)


class CacheAwareTuned(CacheAware):
    """The same with thresholds that fit nodes of four slots: better than documented."""

    ABSOLUTE = 3
    RELATIVE = 1.5


class LMetric(Prefixes):
    """Uncached tokens to be read times requests (OSDI 2026; sglang, Dynamo)."""

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.unread: Counter[str] = Counter()
        self.own: dict[int, int] = {}

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The least product; then requests, then the dice."""
        scores = []
        for node in nodes:
            uncached = asked.tokens * (1.0 - self.shared(asked, node))
            work = (self.unread[node] + uncached) * (self.active[node] + 1)
            scores.append(((work, self.active[node]), node))
        return self._least(scores)

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """Its prompt is to be read."""
        self.own[asked.number] = round(asked.tokens * (1.0 - self.shared(asked, node)))
        self.unread[node] += self.own[asked.number]
        super().sent(asked, node, now)

    def first_byte(self, asked: Asked, node: str, now: float) -> None:
        """It was."""
        self.unread[node] -= self.own.pop(asked.number, 0)

    def aborted(self, asked: Asked, node: str, now: float) -> None:
        """It will not be."""
        super().aborted(asked, node, now)
        self.unread[node] -= self.own.pop(asked.number, 0)


class Herd(Measured):
    """The points of ollama-herd (April 2026): in memory first, then fit, queue and wait. Without
    its queues, its agents and its moving of waiting requests.
    """

    def __init__(self, scenario: Scenario, dice: random.Random) -> None:
        super().__init__(scenario, dice)
        self.hot: defaultdict[str, set[str]] = defaultdict(set)
        self.warm_at: dict[tuple[str, str], float] = {}
        self.sizes = {model.name: model.size for model in scenario.models}
        self.memory = {name: preset.memory for name, preset in scenario.nodes}

    def pick(self, asked: Asked, nodes: list[str], now: float) -> str:
        """The most points."""
        return self._least((-self._points(asked.request.model, node, now), node) for node in nodes)

    def _points(self, model: str, node: str, now: float) -> float:
        if model in self.hot[node]:
            points = 50.0
        else:
            points = 30.0 if now - self.warm_at.get((model, node), -1e9) < 1_800 else 10.0
        points += 20.0 * min(1.0, (self.memory[node] - self.sizes[model]) / self.memory[node])
        points -= min(6.0 * self.active[node], 30.0)
        points -= min(self.active[node] * self.mean_s.get(node, 0.0) / 10.0, 25.0)
        return points

    def sent(self, asked: Asked, node: str, now: float) -> None:
        """It will be in memory."""
        super().sent(asked, node, now)
        self.hot[node].add(asked.request.model)
        self.warm_at[asked.request.model, node] = now

    def ps_seen(self, node: str, runners: Iterable[Runner], now: float) -> None:
        """The agent says what is."""
        self.hot[node] = {runner.model.name for runner in runners}


PEERS: Final[dict[str, type[Rule]]] = {
    "random": Random,
    "round_robin": RoundRobin,
    "least_conn": LeastConnections,
    "first_least": FirstLeast,
    "least_conn, held": HeldLeast,
    "two_choices": TwoChoices,
    "peak_ewma": PeakEwma,
    "prequal": Prequal,
    "cache_aware": CacheAware,
    "cache_aware, tuned": CacheAwareTuned,
    "lmetric": LMetric,
    "herd": Herd,
}
