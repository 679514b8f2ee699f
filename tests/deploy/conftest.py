"""The real supervisor on a data directory and on ports of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fakes.process import OllamaProcess

ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(question: Callable[[], object], deadline_s: float = 20.0) -> object:
    """Ask until the answer is true; fail at the deadline."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        answer = question()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not so within {deadline_s} s")


class Run:
    """One `make run`, without make."""

    def __init__(self, data_dir: Path, **environment: str) -> None:
        self.data_dir = data_dir
        self.proxy = f"127.0.0.1:{free_port()}"
        self.control = f"127.0.0.1:{free_port()}"
        self.metrics = f"127.0.0.1:{free_port()}"
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIVONX_", "DJANGO_"))
            and name not in {"REDIS_URL", "DATABASE_URL"}
        }
        self.environment = {
            **inherited,
            "AIVONX_DATA_DIR": str(data_dir),
            "AIVONX_PROXY_BIND": self.proxy,
            "AIVONX_CONTROL_BIND": self.control,
            "AIVONX_METRICS_BIND": self.metrics,
            **environment,
        }
        self.output_path = data_dir.with_suffix(".out")
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait for the banner; how long that took, in seconds."""
        began = time.monotonic()
        with self.output_path.open("wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "deploy.local.supervisor"],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        until(self._has_banner, 60)
        return time.monotonic() - began

    def _has_banner(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.output
        return "Stop           Ctrl-C" in self.output

    @property
    def output(self) -> str:
        """What the terminal shows."""
        return self.output_path.read_text()

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def descendants(self) -> dict[int, str]:
        """Every process below the supervisor, with its command line."""
        parents: dict[int, list[int]] = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    fields = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:
                    continue
                parents.setdefault(int(fields[1]), []).append(int(entry.name))
        found: dict[int, str] = {}
        waiting = [self.pid]
        while waiting:
            for child in parents.get(waiting.pop(), []):
                command = Path(f"/proc/{child}/cmdline").read_bytes().replace(b"\0", b" ")
                found[child] = command.decode().strip()
                waiting.append(child)
        return found

    def child(self, word: str) -> int:
        """The process whose command line holds a word."""
        return next(pid for pid, command in self.descendants().items() if word in command)

    def finish(self, number: signal.Signals = signal.SIGTERM, timeout_s: float = 30.0) -> int:
        """Signal the supervisor and wait; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(timeout_s)


@pytest.fixture(scope="module")
def node() -> Iterator[OllamaProcess]:
    with OllamaProcess(["llama3.2:latest"], name="fast") as running:
        yield running


@pytest.fixture(scope="module")
def make_run(
    tmp_path_factory: pytest.TempPathFactory, node: OllamaProcess
) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(**environment: str) -> Run:
        data_dir = tmp_path_factory.mktemp("run") / "var"
        run = Run(data_dir, **{"AIVONX_NODES": node.url, **environment})
        runs.append(run)
        return run

    yield make
    for run in runs:
        if run.process is not None and run.process.poll() is None:
            run.process.kill()
            run.process.wait()


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that ended but was not collected yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def access_lines(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]


PASSWORD = re.compile(r"password (\S+)")
