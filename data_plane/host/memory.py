"""How much memory there is, and how much of it is used: the limits of the cgroups that the kernel
keeps (version 2 and version 1), and the one that the operator set for this process.

Of a cgroup every process in it counts, for they are ended together. What the kernel can take back
at need, the pages of files, does not: it fills any limit in time, and nobody dies of it.
"""

from __future__ import annotations

import ctypes
import gc
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_plane.settings import HELD_BODY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

CGROUPS: Final = Path("/sys/fs/cgroup")
PROCESS: Final = Path("/proc/self")
SETTING: Final = "AIVONX_MAX_MEMORY_BYTES"

_UNLIMITED_BYTES: Final = 1 << 60
"""Version 1 has a number for "no limit", somewhat below 2 to the power of 63."""

_TRIM: Final = getattr(ctypes.CDLL(None), "malloc_trim", None)
"""Of glibc; another C library gives memory back by itself or has no word for it."""

_SET: Final = getattr(ctypes.CDLL(None), "mallopt", None)
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""Of <malloc.h>."""

KEPT_BYTES: Final = 32 * 1024 * 1024
"""Of freed memory at the end of the heap, what this process keeps: some bodies of images."""


@dataclass(frozen=True, slots=True)
class MemoryUse:
    """What is used under one limit."""

    limit: str
    """Who set it: the directory of a cgroup, or our setting."""

    used_bytes: int
    limit_bytes: int

    @property
    def ratio(self) -> float:
        """The share that is used; above 1 where the limit is only ours."""
        return self.used_bytes / self.limit_bytes


@dataclass(frozen=True, slots=True)
class _Group:
    """One cgroup, and what its files are called in its version."""

    directory: Path
    limit: str
    used: str
    reclaimable: frozenset[bytes]

    def use(self) -> MemoryUse | None:
        """None where it has no limit now, or is not ours any more."""
        try:
            raw = (self.directory / self.limit).read_bytes().strip()
            limit_bytes = 0 if raw == b"max" else int(raw)
            if not 0 < limit_bytes < _UNLIMITED_BYTES:
                return None
            used_bytes = int((self.directory / self.used).read_bytes())
            stat = (self.directory / "memory.stat").read_bytes()
        except OSError:
            return None
        for line in stat.splitlines():
            name, _, value = line.partition(b" ")
            if name in self.reclaimable:
                used_bytes -= int(value)
        return MemoryUse(str(self.directory), max(used_bytes, 0), limit_bytes)


class MemoryLimits:
    """The limits that this process lives under."""

    def __init__(
        self, max_memory_bytes: int | None, *, cgroups: Path = CGROUPS, process: Path = PROCESS
    ) -> None:
        """`max_memory_bytes`: of this process alone; None: only the cgroups'; 0: none at all."""
        self._own_bytes = max_memory_bytes
        self._process = process
        self._groups = () if max_memory_bytes == 0 else tuple(_groups(cgroups, process))

    def nearest(self) -> MemoryUse | None:
        """The one of which the greatest share is used; None where there is no limit."""
        uses = [use for use in (group.use() for group in self._groups) if use is not None]
        if self._own_bytes:
            uses.append(MemoryUse(SETTING, self._resident_bytes(), self._own_bytes))
        return max(uses, key=lambda use: use.ratio, default=None)

    def _resident_bytes(self) -> int:
        pages = int((self._process / "statm").read_bytes().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")


def keep_freed() -> None:
    """Have freed memory ready for the next body, until `give_back` is called for want of it.

    Else glibc gives what is freed to the kernel as soon as it is twice the largest body, and each
    further body faults its pages in anew: a third of what a chat with an image costs.
    """
    if _SET is not None:
        _SET(_M_TRIM_THRESHOLD, KEPT_BYTES)
        _SET(_M_MMAP_THRESHOLD, 2 * HELD_BODY_BYTES)


def give_back() -> None:
    """Return to the kernel what nobody uses. Takes milliseconds, so only when memory is short.

    What ended as part of a cycle lies there until the collector looks at old objects, which it
    rarely does, and the allocator keeps the room of large bodies for the next ones.
    """
    gc.collect()
    if _TRIM is not None:
        _TRIM(0)


def _groups(cgroups: Path, process: Path) -> Iterator[_Group]:
    """The cgroup of the process and those above it: each may have a limit of its own."""
    try:
        lines = (process / "cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return  # a kernel without cgroups
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            files = ("memory.max", "memory.current")
            root, names = cgroups, {b"active_file", b"inactive_file"}
        elif "memory" in controllers.split(","):
            files = ("memory.limit_in_bytes", "memory.usage_in_bytes")
            root, names = cgroups / "memory", {b"total_active_file", b"total_inactive_file"}
        else:
            continue
        for directory in _upwards(root, path):
            if (directory / files[0]).is_file():
                yield _Group(directory, *files, frozenset(names))


def _upwards(root: Path, path: str) -> Iterator[Path]:
    """From the directory of a cgroup to the root of all.

    A container sees the path that the host gave it, and its own cgroup as the root: so directories
    that do not exist are no mistake.
    """
    directory = root if ".." in path.split("/") else root / path.strip("/")
    while directory != root:
        yield directory
        directory = directory.parent
    yield root
