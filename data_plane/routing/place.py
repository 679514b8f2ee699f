"""One node as its shadow holds it: the models in its memory, and which requests each works on."""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Final

from data_plane.routing.prefix import Prompts
from data_plane.routing.room import Room

if TYPE_CHECKING:
    from data_plane.routing.events import Arrival

RATE_S: Final = 90.0
"""Over which arrivals are counted."""


class Flight:
    """One request at one node, with what was predicted of it."""

    __slots__ = (
        "ahead",
        "arrival",
        "beside",
        "common",
        "decode_s",
        "first_at",
        "found",
        "hit",
        "is_cold",
        "is_writing",
        "key",
        "left_s",
        "load_s",
        "node_id",
        "sent_at",
        "together",
        "tokens",
        "ttft_s",
        "uncached",
        "wait_s",
        "was_alone",
        "work_s",
        "write_s",
    )

    def __init__(self, arrival: Arrival, node_id: str, key: str, now: float) -> None:
        self.arrival = arrival
        self.node_id = node_id
        self.key = key
        self.sent_at = now
        self.first_at: float | None = None
        self.tokens = self.uncached = self.hit = 0.0
        self.common = (0.0, 0)
        """What it has in common with an earlier prompt there (share, place), cached or not."""

        self.found: float | None = None
        """The share that turned out to be cached."""

        self.ttft_s = self.wait_s = self.load_s = self.decode_s = 0.0
        self.work_s = self.write_s = 0.0
        """Of the node's time: all, and what its answer takes of it."""

        self.left_s = 0.0
        """For how long it still needs a slot. An answer that has come far is not nearly done: their
        lengths differ so much that what is left of one is about the same at any time.
        """

        self.ahead = 0
        self.together = 1
        self.beside = 0
        """Others there that had their first token when this one got its own: all have a slot."""

        self.is_cold = False
        self.is_writing = False
        """It has its first token, as far as we can tell."""

        self.was_alone = True


class Runner:
    """A model in a node's memory, or on its way there."""

    __slots__ = (
        "context_length",
        "decoding",
        "flights",
        "is_leaving",
        "key",
        "left_s",
        "options_key",
        "prompts",
        "ready_at",
        "size_bytes",
        "unread",
        "used_at",
        "work_s",
    )

    def __init__(self, key: str, size_bytes: float, ready_at: float) -> None:
        self.key = key
        self.size_bytes = size_bytes
        self.ready_at = ready_at
        """When it is loaded; in the past: it is."""

        self.options_key: str | None = None
        """With which options it was loaded; None: before we looked."""

        self.context_length = 0
        self.flights: dict[int, Flight] = {}
        self.decoding = 0
        """Of the flights, those that are being written."""

        self.unread = 0.0
        """Prompt tokens of the others."""

        self.left_s = 0.0
        """Of all flights."""

        self.work_s = 0.0
        """Moving mean of the work of one request."""

        self.prompts = Prompts()
        self.used_at = ready_at
        self.is_leaving = False
        """It has to make room for another: the node ends what it has begun, and new requests would
        wait behind the load of the other."""

    def fits(self, options_key: str) -> bool:
        """Whether a request with these options runs without a reload."""
        if self.is_leaving:
            return False
        if self.options_key is None:
            return not options_key or options_key == f'{{"num_ctx":{self.context_length}}}'
        return self.options_key == options_key


class Place:
    """One node."""

    __slots__ = (
        "_arrived",
        "_arrived_at",
        "active",
        "backlog_s",
        "busy",
        "hanging",
        "node_id",
        "room",
        "runners",
        "work_s",
    )

    def __init__(self, node_id: str) -> None:
        self.node_id = node_id
        self.runners: dict[str, Runner] = {}
        self.room = Room()
        self.active = 0
        """Our requests there."""

        self.busy = 0
        """Runners that have some of them."""

        self.work_s = 0.0
        """Moving mean of the work of one request."""

        self.hanging: set[str] = set()
        """Models that it could not load; see `Shadow.watch`."""

        self._arrived = self._arrived_at = 0.0
        self.backlog_s = 0.0
        """Work that is left of all requests there."""

    def per_second(self, now: float) -> float:
        """Requests of the last minutes."""
        return self._arrived * exp((self._arrived_at - now) / RATE_S) / RATE_S

    def arrived(self, now: float) -> None:
        """One more request."""
        self._arrived = self._arrived * exp((self._arrived_at - now) / RATE_S) + 1.0
        self._arrived_at = now

    def loader_free_s(self, now: float) -> float:
        """Until the loads that are under way are done: one after another."""
        return max((runner.ready_at for runner in self.runners.values()), default=now) - now

    def victims(self, key: str, size_bytes: float) -> list[Runner]:
        """Who has to leave for a model: idle ones first, then in the order of their names.

        As long as the node was never seen to hold more, it is taken to be full.
        """
        others = [runner for runner in self.runners.values() if runner.key != key]
        held = sum(runner.size_bytes for runner in others)
        leaving = []
        for runner in sorted(others, key=lambda each: (bool(each.flights), each.key)):
            if held + size_bytes <= self.room.held_bytes:
                break
            held -= runner.size_bytes
            leaving.append(runner)
        return leaving
