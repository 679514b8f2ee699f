"""Which tests belong together when `-n` runs them on several workers.

What shares an expensive start (a whole system of processes) goes to one worker; everything else is
dealt out by file. xdist's own marks for this have no effect with pytest 9.2, which keeps node ids
where xdist 3.8 does not write them.
"""

from __future__ import annotations

from typing import Final

from xdist.scheduler.loadscope import LoadScopeScheduling

LONG: Final = (
    "a_lost_hint_is_found",
    "an_older_revision_is_refused",
    "redis_may_die",
    "the_worker_may_die_mid_sweep",
    "two_data_planes_see_each_other",
)
"""Scenarios that take half of the system ring's time, most of it in waiting for an expiry."""


class RingScheduling(LoadScopeScheduling):  # type: ignore[misc]  # xdist is untyped here
    """One worker per stack of processes, one file at a time for the rest."""

    def _split_scope(self, nodeid: str) -> str:
        return scope_of(nodeid)


def scope_of(nodeid: str) -> str:
    """The group of a test."""
    path = nodeid.partition("::")[0]
    if "tests/clients/" in path:
        return "clients"
    if "tests/system/" in path:
        return "system, long" if any(name in path for name in LONG) else "system"
    return path
