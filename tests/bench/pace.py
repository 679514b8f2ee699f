"""How much of the machine a measure had: how fast its core was, and how much the host stole of it.

`uptime` sees what runs on this machine, and not who else uses its processor: another guest on a
sibling thread makes Python half as fast, and a proxy in C less. Seen around each proxy, by a piece
of work that is always the same, it says whether two columns were measured on the same machine. What
the host steals (the kernel's word) is time in which a core stood still, whatever ran on it.
"""

from __future__ import annotations

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stage import Cores

LOOK_S = 0.4
_TIMES = slice(1, 9)  # of a line of /proc/stat: user to steal; guests' are in user's (proc(5))


@dataclass(frozen=True)
class Pace:
    """Microseconds that the work took, over one look."""

    mean_us: float
    best_us: float


@dataclass(frozen=True)
class Ticks:
    """Of a core since the machine began: those that the host stole, and all."""

    stolen: int
    total: int


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


def ticks(cores: Cores, path: Path = Path("/proc/stat")) -> Ticks:
    """Of the proxy's core; of all cores where it has none of its own."""
    name = "cpu" if cores.proxy is None else f"cpu{cores.proxy}"
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines())
    times = next([int(time) for time in line[_TIMES]] for line in lines if line[0] == name)
    return Ticks(stolen=times[-1], total=sum(times))


def stolen_percent(before: Ticks, after: Ticks) -> float:
    """How much of the time between the two the host stole."""
    return 100 * (after.stolen - before.stolen) / max(after.total - before.total, 1)


def processor(path: Path = Path("/proc/cpuinfo")) -> str:
    """Its name and model number (clouds name generations alike), or the architecture."""
    lines = path.read_text(encoding="utf-8").splitlines()
    said = {name.strip(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    if "model name" not in said:
        return platform.machine()
    return f"{said['model name']}, model {said.get('model', 'unknown')}"


def _work() -> int:
    """Some 100 µs of what a data plane does: objects, strings, look-ups."""
    names = {number: f"{number}x" for number in range(600)}
    return sum(map(len, names.values()))
