"""The order of the requests that wait for a slot. Pure: time is an argument, in seconds.

A lane for each model. In a lane: by band (the key's priority, one more for each minute in which its
principal waits and none of its requests comes to its turn, so that nobody starves), within a band
by what the principal has had (`shares`), within a principal by arrival, which is the order of their
deadlines too, since all may wait as long.

Whoever has a long queue of its own and is served from it does not age: by the age of each request a
hog's backlog of minutes would come before all that others ask now.
"""

from __future__ import annotations

from collections import OrderedDict
from heapq import heapify, heappop, heapreplace
from itertools import count, islice
from math import inf
from typing import TYPE_CHECKING, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterator

    from data_plane.admission.shares import Shares

T = TypeVar("T")

AGEING_S: Final = 60.0
"""Of waiting, for one band up."""


class Waiting(Generic[T]):
    """One request that waits."""

    __slots__ = ("arrived_at", "item", "lane", "number", "principal", "priority", "tokens")

    def __init__(  # noqa: PLR0913 - what the order goes by
        self, item: T, *, lane: str, principal: str, priority: int, tokens: float, arrived_at: float
    ) -> None:
        """`tokens` is what sending it will cost its principal at first."""
        self.item = item
        self.lane = lane
        self.principal = principal
        self.priority = priority
        self.tokens = tokens
        self.arrived_at = arrived_at
        self.number = 0

    def band(self, now: float, turn_at: float = -inf) -> int:
        """The higher goes first. `turn_at`: when its principal's last one came to its turn."""
        return self.priority + int((now - max(self.arrived_at, turn_at)) / AGEING_S)


class Queue(Generic[T]):
    """Who waits, and who is next."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._numbers = count()
        self._lanes: dict[str, dict[tuple[str, int], OrderedDict[int, Waiting[T]]]] = {}
        """By model; then by principal and priority, each in the order of arrival."""

        self._turns: dict[tuple[str, str, int], float] = {}
        """By model, principal and priority: when one of those that wait came to its turn."""

        self._of: dict[str, int] = {}
        self.size = 0

    @property
    def lanes(self) -> list[str]:
        """The models that somebody waits for."""
        return list(self._lanes)

    def is_waited_for(self, lane: str) -> bool:
        """Whether somebody does."""
        return lane in self._lanes

    def count(self, lane: str) -> int:
        """How many wait for a model."""
        return sum(len(stream) for stream in self._lanes.get(lane, {}).values())

    def of(self, principal: str) -> int:
        """How many requests of a principal wait."""
        return self._of.get(principal, 0)

    def join(self, waiting: Waiting[T]) -> None:
        """One more waits."""
        waiting.number = next(self._numbers)
        streams = self._lanes.setdefault(waiting.lane, {})
        which = waiting.principal, waiting.priority
        streams.setdefault(which, OrderedDict())[waiting.number] = waiting
        self._of[waiting.principal] = self.of(waiting.principal) + 1
        self.size += 1
        self._shares.waits(waiting.principal)

    def served(self, waiting: Waiting[T], now: float) -> None:
        """It has come to its turn, and is about to leave."""
        self._turns[waiting.lane, waiting.principal, waiting.priority] = now
        self._shares.served(waiting.principal)

    def leave(self, waiting: Waiting[T]) -> bool:
        """It waits no more, for whatever reason. False when it did not wait."""
        streams = self._lanes.get(waiting.lane, {})
        which = waiting.principal, waiting.priority
        stream = streams.get(which)
        if stream is None or stream.pop(waiting.number, None) is None:
            return False
        if not stream:
            del streams[which]
            self._turns.pop((waiting.lane, *which), None)
        if not streams:
            del self._lanes[waiting.lane]
        self._of[waiting.principal] -= 1
        if not self._of[waiting.principal]:
            del self._of[waiting.principal]
        self.size -= 1
        self._shares.waits_no_more(waiting.principal)
        return True

    def first(self, lane: str, most: int, now: float) -> list[Waiting[T]]:
        """The next ones of a lane, if all of them could be sent now."""
        return list(islice(self._ordered(lane, now), most))

    def ahead_of(self, waiting: Waiting[T], now: float) -> int:
        """How many of its lane come before it."""
        for place, each in enumerate(self._ordered(waiting.lane, now)):
            if each is waiting:
                return place
        return 0

    def _ordered(self, lane: str, now: float) -> Iterator[Waiting[T]]:
        """Each principal's next one, the best of these first: O(log principals) for each."""
        spent: dict[str, float] = {}

        def entry(stream: Iterator[Waiting[T]]) -> _Entry[T] | None:
            head = next(stream, None)
            if head is None:
                return None
            had = self._shares.had(head.principal) + spent.get(head.principal, 0.0)
            turn_at = self._turns.get((lane, head.principal, head.priority), -inf)
            return -head.band(now, turn_at), had, head.number, head, stream

        streams = self._lanes.get(lane, {}).values()
        heap = [each for stream in streams if (each := entry(iter(stream.values()))) is not None]
        heapify(heap)
        while heap:
            *_, head, stream = heap[0]
            yield head
            spent[head.principal] = spent.get(head.principal, 0.0) + head.tokens
            following = entry(stream)
            if following is None:
                heappop(heap)
            else:
                heapreplace(heap, following)


_Entry = tuple[int, float, int, Waiting[T], "Iterator[Waiting[T]]"]
