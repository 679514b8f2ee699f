"""Real processes for the system ring: groups of their own, killed by id, never left behind.

Nothing here knows what it starts. Waiting is always for a condition with a deadline, never for a
length of time.
"""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

T = TypeVar("T")

POLL_S: Final = 0.02
TAIL_LINES: Final = 12

DIE_WITH_PARENT: Final = (
    *(sys.executable, "-I", "-S", "-c"),
    "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execv(sys.argv[1], sys.argv[1:])",
)
"""Goes before a command: a test run killed with SIGKILL leaves no servers behind. 1 is
PR_SET_PDEATHSIG. Not a `preexec_fn`, because the canary's thread runs while processes start."""


class DeadlineError(AssertionError):
    """A condition did not come true in time."""


def eventually(what: str, question: Callable[[], T], within_s: float) -> T:
    """Ask until the answer is true, and return it; raise with `what` after the deadline."""
    deadline = time.monotonic() + within_s
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() >= deadline:
            msg = f"not within {within_s:g} s: {what} (last answer: {answer!r})"
            raise DeadlineError(msg)
        time.sleep(POLL_S)


def free_port() -> int:
    """A port that is free now, on loopback, and that no outgoing connection will be given.

    Below the range of ports (32768 and up) from which the kernel serves those: what it chose itself
    could be taken again before the server of the test listens there.
    """
    while True:
        port = random.randrange(20_000, 32_000)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def is_listening(port: int) -> bool:
    """Whether something accepts connections on this loopback port."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Process:
    """One process and its children, with everything it prints in a file."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        environment: Mapping[str, str],
        log: Path,
        cwd: Path,
    ) -> None:
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self.cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The id of the first process of the group."""
        if self._process is None:
            msg = f"{self.name} was never started"
            raise DeadlineError(msg)
        return self._process.pid

    def start(self) -> None:
        """Start it; appends to the log, so that a restart does not hide what came before."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*DIE_WITH_PARENT, *self.command],
                env=self.environment,
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def signal_group(self, number: signal.Signals) -> None:
        """Send a signal to the whole group; no error when it is already gone."""
        if self._process is not None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                return

    def kill(self) -> None:
        """SIGKILL the group and wait until it is gone."""
        self.signal_group(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(timeout=10)

    def terminate(self) -> None:
        """SIGTERM to the first process only: it is its business to end its children."""
        if self.is_running:
            os.kill(self.pid, signal.SIGTERM)

    def exit_code(self, within_s: float) -> int:
        """Wait for the end."""
        if self._process is None:
            msg = f"{self.name} was never started"
            raise DeadlineError(msg)
        try:
            return self._process.wait(timeout=within_s)
        except subprocess.TimeoutExpired as error:
            msg = f"{self.name} did not end within {within_s:g} s"
            raise DeadlineError(msg) from error

    def freeze(self) -> None:
        """SIGSTOP: connections stay open, nothing answers."""
        self.signal_group(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.signal_group(signal.SIGCONT)

    def stop(self) -> None:
        """End it for good, kindly at first."""
        if self._process is None:
            return
        self.thaw()
        self.terminate()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.kill()
        self.signal_group(signal.SIGKILL)

    def tail(self) -> str:
        """The end of its log, for a failure message."""
        if not self.log.exists():
            return ""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        return f"--- {self.name} ({self.log})\n" + "\n".join(lines[-TAIL_LINES:])

    def members(self) -> list[int]:
        """The ids of every process of the group."""
        return [pid for pid in _pids() if _group_of(pid) == self.pid]

    def memory_bytes(self) -> int:
        """Proportional set size of the group: shared pages are counted once over all processes."""
        return sum(_pss(pid) for pid in self.members())


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - /proc


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _pss(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as rollup:  # noqa: PTH123 - /proc
            for line in rollup:
                if line.startswith("Pss:"):
                    return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return 0
