"""One supervised process: start, log, restart with back-off, stop. No decisions about others."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from deploy.local.parent_death import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).resolve().parents[2]
FIRST_BACKOFF_S = 0.2
MAX_BACKOFF_S = 10.0
STEADY_AFTER_S = 30.0
"""A process that ran this long counts as started well: its next restart is quick again."""

MAX_LOG_BYTES = 50 * 1024 * 1024
LOG_TAIL_BYTES = 2_000


@dataclass
class Child:
    """A process that is meant to run."""

    name: str
    command: tuple[str, ...]
    environment: Mapping[str, str]
    log_path: Path
    backoff_s: float = FIRST_BACKOFF_S
    restarts: int = 0
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    due_at: float = field(default=0.0)

    def start(self) -> None:
        """Start it in a session of its own, so that Ctrl-C reaches the supervisor alone."""
        self.rotate_log()
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=ROOT,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has no other thread
            )
        self.started_at = time.monotonic()

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return self.process is not None and self.process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """How it ended, once it has."""
        return None if self.process is None else self.process.poll()

    def schedule_restart(self, now: float) -> float:
        """Note that it died; says after how many seconds it is to be started again."""
        if now - self.started_at > STEADY_AFTER_S:
            self.backoff_s = FIRST_BACKOFF_S
        wait_s = self.backoff_s
        self.due_at = now + wait_s
        self.backoff_s = min(self.backoff_s * 2, MAX_BACKOFF_S)
        self.process = None
        self.restarts += 1
        return wait_s

    def signal(self, number: signal.Signals) -> None:
        """Signal it, if it runs."""
        if self.process is not None and self.is_running:
            self.process.send_signal(number)

    def kill_all(self) -> None:
        """End it at once, with whatever it has started."""
        if self.process is not None and self.is_running:
            os.killpg(self.process.pid, signal.SIGKILL)

    def wait(self, timeout_s: float) -> bool:
        """Wait until it has ended; False when it has not in time."""
        if self.process is None:
            return True
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def rotate_log(self) -> None:
        """Keep the log bounded. Copied and cut rather than renamed: the process has it open."""
        try:
            if self.log_path.stat().st_size <= MAX_LOG_BYTES:
                return
        except FileNotFoundError:
            return
        previous = self.log_path.with_suffix(".log.1")
        with self.log_path.open("r+b") as log, previous.open("wb") as copy:
            os.sendfile(copy.fileno(), log.fileno(), 0, MAX_LOG_BYTES)
            log.truncate(0)

    def last_words(self) -> str:
        """The end of its log: what it said before it died."""
        try:
            data = self.log_path.read_bytes()[-LOG_TAIL_BYTES:]
        except FileNotFoundError:
            return ""
        return data.decode(errors="replace").strip()
