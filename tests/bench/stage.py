"""Starting and ending the parts of a measurement.

Everything listens on loopback at ports that the kernel chose, is pinned to a core, and ends with
the measurement however that ends: `stop` on every way out of Python, the kernel on all others.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import usage

from deploy.local.parent_death import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[2]
TOOLS = Path(__file__).resolve().parent / "tools"
STOP_S = 5.0  # a proxy with thousands of open streams that does not end by then is killed
LOG_TAIL = 160  # characters of a log that say why a part did not start


class AbsentError(Exception):
    """A part that is not to be had here. The text says which and why, in one line."""


@dataclass(frozen=True)
class Cores:
    """Who runs where. On a machine with one core nothing is pinned."""

    load: int | None
    proxy: int | None

    @classmethod
    def chosen(cls) -> Cores:
        """The first core for node and load, the last for the proxy."""
        usable = sorted(os.sched_getaffinity(0))
        return cls(usable[0], usable[-1]) if len(usable) > 1 else cls(None, None)


@dataclass
class Process:
    """One part that runs."""

    name: str
    popen: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.popen.pid

    def last_words(self) -> str:
        """The end of its log in one line."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").split()
        return " ".join(lines)[-LOG_TAIL:] or "it said nothing"

    def stop(self) -> None:
        """End it and everything below it."""
        below = usage.family(self.pid)[1:]
        self.popen.terminate()
        try:
            self.popen.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
        for pid in below:
            _kill_ours(pid)


def _kill_ours(pid: int) -> None:
    """Kill a descendant that outlived its parent."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass
class Stage:
    """What runs, so that it can be ended whatever happens."""

    workdir: Path
    cores: Cores
    processes: list[Process] = field(default_factory=list)

    def start(
        self,
        name: str,
        command: list[str],
        *,
        core: int | None,
        cwd: Path | None = None,
        environment: Mapping[str, str] | None = None,
        stdout: int | None = None,
    ) -> Process:
        """Start a part, its output in a log of the work directory."""
        log = self.workdir / f"{name}.log"

        def settle() -> None:
            die_with_parent()
            if core is not None:
                os.sched_setaffinity(0, {core})

        with log.open("wb") as file:
            popen = subprocess.Popen(
                command,
                env={**os.environ, **(environment or {})},
                cwd=cwd or self.workdir,
                stdin=subprocess.DEVNULL,
                stdout=file if stdout is None else stdout,
                stderr=subprocess.STDOUT if stdout is None else file,
                preexec_fn=settle,  # noqa: PLW1509 - this program has one thread
            )
        process = Process(name, popen, log)
        self.processes.append(process)
        return process

    def stop(self, process: Process) -> None:
        """End one part."""
        self.processes.remove(process)
        process.stop()

    def stop_all(self) -> None:
        """End every part, the last one first."""
        while self.processes:
            self.stop(self.processes[-1])


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(process: Process, port: int, path: str, deadline_s: float) -> None:
    """Until a GET answers 200; AbsentError with the part's last words when it never does."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        if process.popen.poll() is not None:
            raise AbsentError(f"{process.name}: it ended at once: {process.last_words()}")
        if _answers_200(port, path):
            return
        time.sleep(0.05)
    raise AbsentError(
        f"{process.name}: no answer within {deadline_s:.0f} s: {process.last_words()}"
    )


def _answers_200(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


@contextmanager
def signals_that_exit() -> Iterator[None]:
    """Turn the signals that end a program into exits that pass every `finally`."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
