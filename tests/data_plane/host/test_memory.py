"""Limits of memory as the kernel writes them down, version 2 and version 1."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from data_plane.host.memory import SETTING, MemoryLimits

MIB = 1024 * 1024


class Kernel:
    """The files of /sys/fs/cgroup and /proc/self, in a directory of the test's own."""

    def __init__(self, directory: Path) -> None:
        self.cgroups = directory / "cgroups"
        self.process = directory / "self"
        self.cgroups.mkdir()
        self.process.mkdir()

    def belongs_to(self, *lines: str) -> None:
        (self.process / "cgroup").write_text("".join(f"{line}\n" for line in lines))

    def resident(self, size: int) -> None:
        (self.process / "statm").write_text(f"99999 {size // os.sysconf('SC_PAGESIZE')} 7 1 0 9 0")

    def group(self, path: str, limit: str, used: int, *, cache: int = 0) -> Path:
        return self._write(
            self.cgroups / path,
            {"memory.max": limit, "memory.current": str(used)},
            f"anon 1\nfile {cache}\ninactive_file {cache // 2}\nactive_file {cache // 2}\n",
        )

    def old_group(self, path: str, limit: str, used: int, *, cache: int = 0) -> Path:
        return self._write(
            self.cgroups / "memory" / path,
            {"memory.limit_in_bytes": limit, "memory.usage_in_bytes": str(used)},
            f"inactive_file 1\ntotal_inactive_file {cache}\ntotal_active_file 0\n",
        )

    def _write(self, directory: Path, files: dict[str, str], stat: str) -> Path:
        directory.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (directory / name).write_text(text + "\n")
        (directory / "memory.stat").write_text(stat)
        return directory

    def limits(self, max_memory_bytes: int | None = None) -> MemoryLimits:
        return MemoryLimits(max_memory_bytes, cgroups=self.cgroups, process=self.process)


@pytest.fixture
def kernel(tmp_path: Path) -> Kernel:
    return Kernel(tmp_path)


def test_a_cgroup_counts_without_what_the_kernel_can_take_back(kernel) -> None:
    """F66."""
    kernel.belongs_to("0::/box")
    group = kernel.group("box", str(200 * MIB), 150 * MIB, cache=50 * MIB)
    use = kernel.limits().nearest()
    assert (use.limit, use.used_bytes, use.limit_bytes) == (str(group), 100 * MIB, 200 * MIB)
    assert use.ratio == 0.5


def test_the_limit_that_is_nearest_counts_though_it_is_further_up(kernel) -> None:
    """F66."""
    kernel.belongs_to("0::/slice/box")
    kernel.group("slice/box", str(200 * MIB), 100 * MIB)
    kernel.group("slice", str(1000 * MIB), 900 * MIB)
    assert kernel.limits().nearest().ratio == 0.9


def test_in_a_container_the_group_is_the_root(kernel) -> None:
    """F66: the path is the host's, or leads out of what the container sees."""
    kernel.group(".", str(100 * MIB), 70 * MIB)
    for line in ("0::/", "0::/docker/0123", "0::/../another"):
        kernel.belongs_to(line)
        assert kernel.limits().nearest().ratio == 0.7


def test_version_1_is_understood_beside_an_empty_version_2(kernel) -> None:
    """F66."""
    kernel.belongs_to("4:memory:/box", "2:cpu,cpuacct:/", "0::/")
    kernel.old_group(".", "9223372036854771712", 5000 * MIB)
    kernel.old_group("box", str(100 * MIB), 95 * MIB, cache=5 * MIB)
    assert kernel.limits().nearest().ratio == 0.9


def test_a_limit_that_is_set_or_lifted_later_counts_at_once(kernel) -> None:
    """F66."""
    kernel.belongs_to("0::/box")
    kernel.group("box", "max", 50 * MIB)
    limits = kernel.limits()
    assert limits.nearest() is None
    kernel.group("box", str(100 * MIB), 50 * MIB)
    assert limits.nearest().ratio == 0.5


def test_our_own_limit_counts_beside_that_of_the_kernel(kernel) -> None:
    """F66."""
    kernel.belongs_to("0::/box")
    kernel.group("box", str(100 * MIB), 60 * MIB)
    kernel.resident(50 * MIB)
    assert kernel.limits(100 * MIB).nearest().ratio == 0.6
    use = kernel.limits(64 * MIB).nearest()
    assert (use.limit, use.used_bytes) == (SETTING, 50 * MIB)


def test_where_nothing_limits_nothing_is_said(kernel) -> None:
    """F66: neither cgroups nor a setting; or switched off; or the group has gone."""
    assert kernel.limits().nearest() is None
    kernel.belongs_to("0::/box")
    group = kernel.group("box", str(100 * MIB), 99 * MIB)
    assert kernel.limits(0).nearest() is None
    limits = kernel.limits()
    assert limits.nearest() is not None
    (group / "memory.current").unlink()
    assert limits.nearest() is None


def test_the_files_of_this_machine_are_understood() -> None:
    """F66: a limit of 1 TiB is of this process alone, whatever the cgroup says."""
    use = MemoryLimits(1 << 40).nearest()
    assert use.used_bytes > 0
    assert 0 < use.ratio < 1.5


BODIES = """
import resource
from data_plane.host.memory import {name}
{name}()
def rush():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        bodies = [bytes([1]) * 1_000_000 for _ in range(8)]
        del bodies
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
rush()
print(rush())
"""


def faults_of_a_rush(name: str) -> int:
    """Pages faulted in by 160 bodies of 1 MB, eight at once, in a process that began so."""
    code = [sys.executable, "-c", BODIES.format(name=name)]
    return int(subprocess.run(code, capture_output=True, text=True, check=True).stdout)


def test_the_room_of_bodies_is_kept_for_the_next_ones() -> None:
    pages = 160 * 1_000_000 // os.sysconf("SC_PAGESIZE")
    assert faults_of_a_rush("give_back") > pages / 2, "nothing has to be done"
    assert faults_of_a_rush("keep_freed") < pages / 20
