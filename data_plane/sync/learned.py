"""What the policy has learned, kept on disk over restarts. Losing it costs some slower choices."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from data_plane.routing.policy import Policy
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

TICK_S: Final = 1.0
KEEP_EVERY: Final = 30
"""Ticks between two writes to the disk."""

MAX_BYTES: Final = 64 * 1024 * 1024


class Memory:
    """The policy's clock and its memory; one per process. Workers of one host share the file."""

    def __init__(self, policy: Policy, directory: Path, log: Log, metrics: Metrics) -> None:
        self._policy = policy
        self._path = directory / "learned.json"
        self._log = log
        self._metrics = metrics
        self._listeners: list[Callable[[str, str], None]] = []

    def on_hang(self, listener: Callable[[str, str], None]) -> None:
        """Call `listener(node_id, key)` when the load of a model hangs, once for each load."""
        self._listeners.append(listener)

    async def recall(self) -> None:
        """Take in what an earlier process has learned."""
        try:
            kept = await asyncio.to_thread(self._read)
            if kept is not None:
                self._policy.remember(kept)
        except (OSError, ValueError) as error:
            self._log.warning("learned_ignored", reason=str(error))

    async def run(self, now: Callable[[], float]) -> None:
        """Until cancelled."""
        while True:
            for _ in range(KEEP_EVERY):
                await asyncio.sleep(TICK_S)
                self._tick(now())
            await self.keep()

    def _tick(self, now: float) -> None:
        for node_id, model in self._policy.tick(now):
            self._log.warning("load_hangs", node_id=node_id, model=model)
            for listener in self._listeners:
                listener(node_id, model)
        errors, self._policy.errors = self._policy.errors, []
        for error in errors:
            self._metrics.predicted(error)

    async def keep(self) -> None:
        """Write down what is known now."""
        kept = self._policy.learned()
        try:
            await asyncio.to_thread(self._write, kept)
        except OSError as error:
            self._log.warning("learned_not_written", reason=str(error))

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                return file.read(MAX_BYTES)
        except FileNotFoundError:
            return None

    def _write(self, kept: bytes) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fresh.write_bytes(kept)
            fresh.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):  # it may not even be there
                fresh.unlink()
            raise
