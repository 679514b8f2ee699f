"""One `make run` without make: the real supervisor on a data directory and on ports of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from fakes.processes import eventually, free_port

from data_plane import native

ROOT: Final = Path(__file__).resolve().parents[2]
START_S: Final = 60.0


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
            native.SETTING: "on" if native.is_used() else "off",
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
                # As in a terminal: tests that run in the background of a shell ignore Ctrl-C.
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
            )
        eventually("the banner", self._has_banner, START_S)
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


def is_alive(pid: int) -> bool:
    """Whether a process runs (one that ended but was not collected yet does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
