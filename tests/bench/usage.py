"""CPU time and memory of a process and of everything below it, from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
# Positions in /proc/<pid>/stat, counted after the name (which may hold spaces): proc(5).
_PARENT = 1
_USER_AND_SYSTEM = slice(11, 15)  # utime, stime, and those of children that ended: cutime, cstime


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
    """Microseconds of CPU that the family has used. Exact to a tick (10 ms) for each process."""
    ticks = sum(
        int(value) for member in family(pid) for value in (_stat(member) or [])[_USER_AND_SYSTEM]
    )
    return ticks * TICK_US


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
