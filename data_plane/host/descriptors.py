"""File descriptors: how many this process may have, and how many connections that is.

Who runs out of them cannot accept, dial or probe any more, and would take its own want for the
nodes' death. So the number of clients is kept below it.
"""

from __future__ import annotations

import resource
from typing import Final

RESERVED: Final = 256
"""For listeners, logs, Redis, probes and spooled bodies."""

PER_CLIENT: Final = 2
"""Its own connection, and one to a node."""


def raise_limit() -> None:
    """Allow as many as the system lets us.

    The soft limit of 1,024 is there for programs that use select(), which this one does not.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def clients_within(wanted: int) -> int:
    """Of `wanted` connections of clients, how many there are descriptors for; at least one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    return max(min(wanted, (soft - RESERVED) // PER_CLIENT), 1)
