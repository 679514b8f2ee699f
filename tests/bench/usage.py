"""CPU time and memory of a process and of everything below it, from /proc."""

from __future__ import annotations

import os
import time
from pathlib import Path

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
_SCHEDULED = 2  # CPUCLOCK_SCHED: what the scheduler gave it, in nanoseconds
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/<pid>/stat, counted after the name (which may hold spaces): proc(5).
_PARENT = 1
_OF_ENDED_CHILDREN = slice(13, 15)  # cutime, cstime


def stat_fields(text: str) -> list[str]:
    """What stands behind the name."""
    return text.rpartition(")")[2].split()


def family(pid: int) -> list[int]:
    """The process and its descendants, as far as they live now."""
    parents = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))):
            parents[int(path.name)] = int(fields[_PARENT])
    members = [pid]
    for member in members:  # grows while it is read
        members.extend(child for child, parent in parents.items() if parent == member)
    return members


def cpu_us(pid: int) -> float:
    """Microseconds of CPU that the family has used; of children that ended, to a tick (10 ms)."""
    members = family(pid)
    ticks = sum(int(value) for each in members for value in (_stat(each) or [])[_OF_ENDED_CHILDREN])
    return sum(map(_own_us, members)) + ticks * TICK_US


def _own_us(pid: int) -> float:
    """Of one process with all its threads, by its own clock (clock_getcpuclockid(3))."""
    try:
        return time.clock_gettime_ns((~pid << 3) | _SCHEDULED) / 1_000
    except OSError:  # it is gone
        return 0.0


def rss_bytes(pid: int) -> int:
    """Resident memory of the family. What is shared counts twice, and cancels in a difference."""
    return sum(_resident_pages(member) for member in family(pid)) * _PAGE


def _stat(pid: int) -> list[str] | None:
    """Its fields; None when it is gone, which may happen at any moment."""
    try:
        return stat_fields(Path(f"/proc/{pid}/stat").read_text(encoding="utf-8"))
    except (FileNotFoundError, ProcessLookupError):
        return None


def _resident_pages(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
