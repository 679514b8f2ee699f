"""How fast the proxy's core is at the moment, by a piece of work that is always the same.

`uptime` sees what runs on this machine, and not who else uses its processor: another guest on a
sibling thread makes Python half as fast, and a proxy in C less. Measured around each proxy, it says
whether two columns were measured on the same machine.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stage import Cores

LOOK_S = 0.4


@dataclass(frozen=True)
class Pace:
    """Microseconds that the work took, over one look."""

    mean_us: float
    best_us: float


def look(cores: Cores, seconds: float = LOOK_S) -> Pace:
    """Do the work on the proxy's core for so long."""
    before = os.sched_getaffinity(0)
    if cores.proxy is not None:
        os.sched_setaffinity(0, {cores.proxy})
    try:
        taken = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end or not taken:
            _work()
            taken.append((time.perf_counter() - began) * 1e6)
    finally:
        os.sched_setaffinity(0, before)
    return Pace(sum(taken) / len(taken), min(taken))


def slowness(paces: Sequence[Pace], best_us: float) -> float | None:
    """How many times slower than at its best the core was; None when nobody looked."""
    means = [pace.mean_us for pace in paces]
    return sum(means) / len(means) / best_us if means else None


def _work() -> int:
    """Some 100 µs of what a data plane does: objects, strings, look-ups."""
    names = {number: f"{number}x" for number in range(600)}
    return sum(map(len, names.values()))
