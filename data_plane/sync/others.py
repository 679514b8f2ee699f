"""What was heard of each other instance, until it has been silent for too long.

Who is silent is told by our own clock, and by what is written changing at all: so a dead instance
is forgotten whether Redis is there or not, and no two clocks are ever compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from shared import keys

if TYPE_CHECKING:
    from collections.abc import Mapping

    from shared.flights import Flights
    from shared.reports import Report

MISSED: Final = 3
"""So many renewals of its report that did not come mean that an instance is dead."""


class _Heard(msgspec.Struct):
    """Of one instance: what it says, what that bears to be told from what it says next, and when
    it was something else (by our clock).
    """

    report: Report | None = None
    reported: float | None = None
    reported_at: float = 0.0
    flights: Flights | None = None
    flown: tuple[str, int] | None = None
    flown_at: float = 0.0


class Others:
    """All instances but ours. Times are seconds of one monotonic clock."""

    def __init__(self, mates: frozenset[str] = frozenset()) -> None:
        self._mates = mates
        self._heard: dict[str, _Heard] = {}

    def heard(
        self, reports: Mapping[str, Report], flights: Mapping[str, Flights], now: float
    ) -> None:
        """What is written of others now: who is in neither is gone. A report is not asked for where
        there are flights.
        """
        known, self._heard = self._heard, {}
        for name in reports.keys() | flights.keys():
            heard = self._heard[name] = known.get(name) or _Heard(
                reported_at=now, flown_at=now, reported=-1.0
            )
            heard.flights = flights.get(name)
            if heard.flights is not None:
                flown = heard.flights.life, heard.flights.turn
                if flown != heard.flown:
                    heard.flown, heard.flown_at = flown, now
                heard.report, heard.reported = None, None
                continue
            report = heard.report = reports[name]
            if heard.reported is None:  # whose flights have expired is not alive for that
                heard.reported_at = heard.flown_at
            elif heard.reported != report.reported_at:
                heard.reported_at = now
            heard.reported = report.reported_at

    def forget_silent(self, now: float) -> None:
        """Whoever has said nothing new for too long is dead, for all that we know."""
        for heard in self._heard.values():
            if heard.flights is not None and now - heard.flown_at > keys.FLIGHTS_TTL_S:
                heard.flights = None
            report = heard.report
            if report is not None and now - heard.reported_at > MISSED * report.renewed_s:
                heard.report = None

    @property
    def are_there(self) -> bool:
        """Whether anybody would read what we write."""
        return bool(self._mates) or any(
            heard.report is not None or heard.flights is not None for heard in self._heard.values()
        )

    def counts(self) -> dict[str, int]:
        """Active requests by node, of all but the mates: theirs stand on the board."""
        found: dict[str, int] = {}
        for name, heard in self._heard.items():
            if name in self._mates:
                continue
            for node_id, count in _active(heard):
                found[node_id] = found.get(node_id, 0) + count
        return found

    def flights(self) -> dict[str, Flights]:
        """What they have under way, the mates included, by instance."""
        return {
            name: heard.flights for name, heard in self._heard.items() if heard.flights is not None
        }


def _active(heard: _Heard) -> list[tuple[str, int]]:
    """Of one record alone, so that counts by node and by model are of one moment."""
    if heard.flights is not None:
        pairs = zip(heard.flights.nodes, heard.flights.active, strict=True)
        return [(node_id, count) for node_id, count in pairs if count]
    nodes = heard.report.nodes if heard.report is not None else {}
    return [
        (node_id, node.active_count) for node_id, node in nodes.items() if node.active_count > 0
    ]
