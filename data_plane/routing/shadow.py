"""What each node is taken to be doing: a copy of Ollama's own scheduler, fed by what we sent.

Copied are the rules that cost seconds: one loader that handles one model after another; a reload
when a request comes with other load-time options; the order in which models have to leave; the
slots of a runner with their queue. What a node says itself (/api/ps) replaces what was thought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_plane.routing.place import Place, Runner
from data_plane.routing.prefix import KEPT, Prompts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from data_plane.routing.place import Flight
    from shared.snapshot import LoadedModel

BUSY_S: Final = 1.0
"""For so long what all nodes do together is not counted anew."""

LOAD_PATIENCE: Final = 5.0
LOAD_PATIENCE_S: Final = 60.0
"""A load that takes longer than this, and this many times what was expected, hangs."""


class Shadow:
    """Every node."""

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.flights: dict[int, Flight] = {}
        self._holders: dict[str, set[str]] = {}
        self.hangs = False
        """Whether a load was ever found to hang: else nobody needs to look for such nodes."""

        self._busy: dict[str, tuple[float, float]] = {}
        """Of those that have a model in memory, and until when that is not counted anew."""

    def place(self, node_id: str) -> Place:
        """What the node is doing."""
        place = self.places.get(node_id)
        if place is None:
            place = self.places[node_id] = Place(node_id)
        return place

    def holding(self, key: str) -> set[str]:
        """Nodes that have a model in memory; kept up to date, to be read by whoever has it."""
        return self._holders.setdefault(key, set())

    def is_loading(self, key: str, now: float) -> bool:
        """Whether some node loads the model at this moment."""
        return any(
            self.places[node_id].runners[key].ready_at > now for node_id in self.holding(key)
        )

    def has_room(self, node_id: str, key: str, size_bytes: float, since: float) -> bool:
        """Whether the node could load a model that it has not, and nothing would have to leave that
        was used or loaded after `since`.
        """
        place = self.places.get(node_id)
        if place is None:
            return True
        leaving = place.victims(key, size_bytes)
        return key not in place.runners and not any(
            runner.flights or max(runner.used_at, runner.ready_at) > since for runner in leaving
        )

    def busy(self, key: str, now: float) -> float:
        """The share of their time that what comes takes of all nodes with a model, as of a second
        ago. By the share of each by itself chance would decide among them.
        """
        share, until = self._busy.get(key, (0.0, -1.0))
        if now >= until:
            holders = [self.places[node_id] for node_id in self.holding(key)]
            asked = sum(holder.per_second(now) * holder.work_s for holder in holders)
            share = asked / len(holders) if holders else 0.0
            self._busy[key] = share, now + BUSY_S
        return share

    def keep(self, node_ids: frozenset[str]) -> None:
        """Forget nodes that are no more; what is under way there is forgotten as it ends."""
        for node_id in self.places.keys() - node_ids:
            for key in list(self.places[node_id].runners):
                self._drop(self.places[node_id], key)
            del self.places[node_id]

    def seen(
        self, node_id: str, loaded: Iterable[tuple[str, LoadedModel]], now: float
    ) -> list[str]:
        """What the node says is in its memory, each with its key. Returns what has changed."""
        place = self.place(node_id)
        named = dict(loaded)
        changed = []
        for key, model in named.items():
            size = float(model.size_vram_bytes or model.size_bytes)
            runner = place.runners.get(key)
            if runner is None:
                runner = self._add(place, key, size, now)
                changed.append(key)
            elif runner.context_length not in {0, model.context_length}:
                runner.options_key = None  # somebody else had it loaded anew
                runner.prompts = Prompts()
            runner.context_length, runner.size_bytes = model.context_length, size
            place.hanging.discard(key)
        for key in place.runners.keys() - named.keys():
            runner = place.runners[key]
            # A runner is listed once it is spawned: one that we have asked for may come yet.
            if not runner.flights and runner.ready_at <= now:
                self._drop(place, key)
                changed.append(key)
        sizes = {key: place.runners[key].size_bytes for key in named}
        place.room.shows(sizes, is_loading=place.loader_free_s(now) > 0.0)
        return changed

    def sent(self, ticket: int, flight: Flight, size_bytes: float, now: float) -> None:
        """A request is on its way: what it makes the node do."""
        place = self.place(flight.node_id)
        runner = place.runners.get(flight.key)
        options_key = flight.arrival.options_key
        if runner is None or not runner.fits(options_key):
            flight.is_cold = True
            place.room.tries(frozenset({*place.runners, flight.key}))
            self._make_room(place, flight.key, size_bytes)
            if runner is None:
                runner = self._add(place, flight.key, size_bytes, now + flight.load_s)
            runner.options_key, runner.prompts = options_key, Prompts()
            runner.is_leaving = False
            runner.ready_at = now + flight.load_s
        elif runner.options_key is None:
            runner.options_key = options_key
        flight.ahead = len(runner.flights)
        flight.together = flight.ahead + 1
        flight.was_alone = place.active == 0
        place.busy += not runner.flights
        runner.flights[ticket] = flight
        runner.unread += flight.uncached
        runner.left_s += flight.left_s
        place.backlog_s += flight.work_s
        if flight.arrival.blocks:
            length, place_of = runner.prompts.longest(flight.arrival.blocks, KEPT)
            flight.common = length / len(flight.arrival.blocks), place_of
        runner.prompts.put(flight.arrival.blocks, now)
        runner.used_at = now
        place.active += 1
        place.arrived(now)
        runner.work_s += 0.1 * (flight.work_s - runner.work_s) if runner.work_s else flight.work_s
        place.work_s += 0.1 * (flight.work_s - place.work_s) if place.work_s else flight.work_s
        self.flights[ticket] = flight

    def first_byte(self, ticket: int, now: float) -> None:
        """It has a slot, and its model is there."""
        flight = self.flights.get(ticket)
        if flight is None or flight.first_at is not None:
            return
        flight.first_at = now
        self._write(ticket, flight, now)
        place = self.places.get(flight.node_id)
        runner = place.runners.get(flight.key) if place is not None else None
        if runner is not None:
            begun = sum(each.first_at is not None for each in runner.flights.values())
            flight.beside = max(begun - 1, 0)
        if place is not None and flight.is_cold:
            place.hanging.clear()  # it can load

    def presume(self, now: float) -> None:
        """Answers that are not streamed have their first token by now, if they were predicted to:
        nobody will say so.
        """
        for ticket, flight in self.flights.items():
            if not flight.arrival.is_streamed and flight.sent_at + flight.ttft_s <= now:
                self._write(ticket, flight, now)

    def _write(self, ticket: int, flight: Flight, now: float) -> None:
        place = self.places.get(flight.node_id)
        runner = place.runners.get(flight.key) if place is not None else None
        if flight.is_writing or place is None or runner is None or ticket not in runner.flights:
            return
        flight.is_writing = True
        runner.left_s -= flight.left_s - flight.decode_s
        flight.left_s = flight.decode_s
        place.backlog_s -= flight.work_s - flight.write_s
        flight.work_s = flight.write_s
        runner.decoding += 1
        runner.unread -= flight.uncached
        runner.ready_at = min(runner.ready_at, now)

    def ended(self, ticket: int, now: float) -> Flight | None:
        """It is over, well or not. None when nothing is known of it (any more)."""
        flight = self.flights.pop(ticket, None)
        if flight is None:
            return None
        place = self.places.get(flight.node_id)
        if place is not None:
            place.active = max(place.active - 1, 0)
            runner = place.runners.get(flight.key)
            place.backlog_s = place.backlog_s - flight.work_s if place.active else 0.0
            if runner is not None and runner.flights.pop(ticket, None) is not None:
                runner.used_at = now
                place.busy -= not runner.flights
                runner.left_s = runner.left_s - flight.left_s if runner.flights else 0.0
                if flight.is_writing:
                    runner.decoding -= 1
                else:
                    runner.unread -= flight.uncached
                if runner.is_leaving and not runner.flights:
                    self._drop(place, flight.key)
        return flight

    def learn_cached(self, flight: Flight) -> None:
        """What a finished request says of how many prompts its runner has cached."""
        place = self.places.get(flight.node_id)
        runner = place.runners.get(flight.key) if place is not None else None
        if runner is not None and flight.found is not None:
            runner.prompts.learn(flight.common, flight.found)

    def watch(self, now: float) -> list[tuple[str, str]]:
        """Loads that hang by now (node, model). Nothing that needs a load goes there until one
        succeeds, or until the node says that the model is in its memory.
        """
        found = []
        for flight in self.flights.values():
            expected_s = flight.load_s
            if not flight.arrival.is_streamed:
                expected_s += flight.decode_s
            limit_s = max(LOAD_PATIENCE_S, LOAD_PATIENCE * expected_s)
            if flight.is_cold and flight.first_at is None and now - flight.sent_at > limit_s:
                place = self.place(flight.node_id)
                if flight.key not in place.hanging:
                    place.hanging.add(flight.key)
                    self.hangs = True
                    found.append((flight.node_id, flight.key))
        return found

    def said(self, node_id: str, key: str, size_bytes: float, load_s: float, now: float) -> bool:
        """Another instance has requests for a model there, which is loaded after `load_s`: what
        that does to the node's memory. Whether that is news.
        """
        place = self.place(node_id)
        if key in place.runners:
            return False
        if load_s:
            self._make_room(place, key, size_bytes)
        self._add(place, key, size_bytes, now + load_s)
        return True

    def not_loaded(self, node_id: str, key: str) -> None:
        """A load that nothing waits for has failed."""
        place = self.places.get(node_id)
        runner = place.runners.get(key) if place is not None else None
        if place is not None and runner is not None and not runner.flights:
            self._drop(place, key)

    def _make_room(self, place: Place, key: str, size_bytes: float) -> None:
        for victim in place.victims(key, size_bytes):
            if victim.flights:
                victim.is_leaving = True
            else:
                self._drop(place, victim.key)

    def _add(self, place: Place, key: str, size_bytes: float, ready_at: float) -> Runner:
        runner = place.runners[key] = Runner(key, size_bytes, ready_at)
        self.holding(key).add(place.node_id)
        return runner

    def _drop(self, place: Place, key: str) -> None:
        runner = place.runners.pop(key, None)
        place.busy -= runner is not None and bool(runner.flights)
        self.holding(key).discard(place.node_id)
