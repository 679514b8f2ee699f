"""What other instances have under way, by node and model, and which prompts they have sent.

Each tells the others twice a second (`shared.flights`); nothing is asked while a request waits. The
count of a node over the whole fleet comes from elsewhere (the mates of a host show it on a board,
as of this moment), so what is told here only says of which model these requests are: it is never
added to the count, and what it does not explain counts as requests for whatever model.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final

from shared.flights import (
    MAX_BLOCKS,
    MAX_PAIRS,
    MAX_PROMPTS,
    Flights,
    PairFlights,
    SentPrompt,
    pack,
    unpack,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from collections.abc import Set as AbstractSet

    from data_plane.routing.place import Place
    from data_plane.routing.shadow import Shadow
    from data_plane.routing.shortlist import Shortlists

_NO_SIZES: Final[Mapping[str, float]] = {}


class Elsewhere:
    """What all other instances said of one node."""

    __slots__ = ("pairs", "total")

    def __init__(self) -> None:
        self.pairs: dict[str, int] = {}
        """Requests by model."""

        self.total = 0
        """Of all these models."""

    def others(self, key: str, count: float) -> float:
        """Of `count` requests of others there, those that stand before one for this model: all that
        are not known to be for other models.

        When `count` is less than what was said, some have ended since, and nobody knows of which
        model: as many as can be are taken to be left.
        """
        said = self.pairs.get(key, 0)
        return max(count - (self.total - said), min(said, count))

    def busy(self, key: str, place: Place | None) -> int:
        """Other models that only other instances use there."""
        runners = place.runners if place is not None else {}
        return sum(
            other != key and not ((runner := runners.get(other)) is not None and runner.flights)
            for other in self.pairs
        )


class Fleet:
    """One per policy, which tells of each request with `sent`; `note` is called with each node
    whose memory turns out to hold something else.
    """

    def __init__(self, shadow: Shadow, shortlists: Shortlists, note: Callable[[str], None]) -> None:
        self.nodes: dict[str, Elsewhere] = {}
        """What is known of others, by node; a node that they leave alone is not in it."""

        self._shadow = shadow
        self._shortlists = shortlists
        self._note = note
        self._known: AbstractSet[str] = frozenset()
        self._sizes: Mapping[str, float] = _NO_SIZES
        self._sent = 0
        self._prompts: deque[tuple[str, str, tuple[int, ...]]] = deque()
        self._blocks = 0
        self._taken: dict[str, tuple[str, int]] = {}
        """By instance: its life, and how many of its prompts were taken in."""

    def use(self, node_ids: AbstractSet[str], sizes: Mapping[str, float]) -> None:
        """Nodes and models that there are; what is said of others is not taken in."""
        self._known, self._sizes = node_ids, sizes

    # What we say

    def sent(self, node_id: str, key: str, blocks: tuple[int, ...]) -> None:
        """A prompt is on its way to a node."""
        if not blocks:
            return
        self._sent += 1
        self._prompts.append((node_id, key, blocks))
        self._blocks += len(blocks)
        while self._blocks > MAX_BLOCKS or len(self._prompts) > MAX_PROMPTS:
            self._blocks -= len(self._prompts.popleft()[2])

    def flights(self, active: Mapping[str, int], now: float) -> Flights:
        """What the other instances are told. `active` are our active requests by node, those
        included that the policy was not told of.
        """
        nodes: dict[str, int] = {}
        models: dict[str, int] = {}

        def node_of(node_id: str) -> int:
            return nodes.setdefault(node_id, len(nodes))

        def model_of(key: str) -> int:
            return models.setdefault(key, len(models))

        running = [
            (len(runner.flights), place.node_id, runner)
            for place in self._shadow.places.values()
            if place.busy
            for runner in place.runners.values()
            if runner.flights
        ]
        if len(running) > MAX_PAIRS:
            running.sort(key=lambda each: -each[0])
            del running[MAX_PAIRS:]
        pairs = tuple(
            PairFlights(
                node_of(node_id),
                model_of(runner.key),
                count,
                int(max(runner.ready_at - now, 0.0) * 1_000),
            )
            for count, node_id, runner in running
        )
        prompts = tuple(
            SentPrompt(node_of(node_id), model_of(key), pack(blocks))
            for node_id, key, blocks in self._prompts
        )
        for node_id in active:
            node_of(node_id)
        return Flights(
            nodes=tuple(nodes),
            models=tuple(models),
            active=tuple(active.get(node_id, 0) for node_id in nodes),
            pairs=pairs,
            sent=self._sent,
            prompts=prompts,
        )

    # What we hear

    def heard(self, told: Mapping[str, Flights], now: float) -> None:
        """Take in what the other instances say, each by its name; it replaces what was said."""
        before = self.nodes
        self.nodes = {}
        for flights in told.values():
            self._take_pairs(flights, now)
        for node_id in before.keys() | self.nodes.keys():
            was, now_is = before.get(node_id), self.nodes.get(node_id)
            if was is None or now_is is None or was.pairs != now_is.pairs:
                self._shortlists.changed(node_id)
        for instance, flights in told.items():
            self._take_prompts(instance, flights, now)
        for instance in self._taken.keys() - told.keys():
            del self._taken[instance]

    def _take_pairs(self, flights: Flights, now: float) -> None:
        for pair in flights.pairs:
            node_id, key = flights.nodes[pair.node], flights.models[pair.model]
            size = self._sizes.get(key)
            if not pair.count or size is None or node_id not in self._known:
                continue
            there = self.nodes.setdefault(node_id, Elsewhere())
            there.pairs[key] = there.pairs.get(key, 0) + pair.count
            there.total += pair.count
            if self._shadow.said(node_id, key, size, pair.load_ms / 1_000, now):
                self._note(node_id)

    def _take_prompts(self, instance: str, flights: Flights, now: float) -> None:
        """Those that are new, the oldest first. What a node has cached outlives who sent it."""
        is_known = instance in self._taken
        life, taken = self._taken.get(instance, (flights.life, 0))
        if life != flights.life or taken > flights.sent:
            taken, is_known = 0, False
        fresh = min(flights.sent - taken, len(flights.prompts))
        self._taken[instance] = flights.life, flights.sent
        for prompt in flights.prompts[len(flights.prompts) - fresh :]:
            node_id, key = flights.nodes[prompt.node], flights.models[prompt.model]
            if not prompt.blocks or node_id not in self._known or key not in self._sizes:
                continue
            place = self._shadow.place(node_id)
            # Sent since it last spoke, so the model is in memory there, looked at or not.
            if is_known and self._shadow.said(node_id, key, self._sizes[key], 0.0, now):
                self._note(node_id)
            runner = place.runners.get(key)
            if runner is not None:
                blocks = unpack(prompt.blocks)
                runner.prompts.put(blocks, now)
                self._shortlists.sent(node_id, key, blocks)
