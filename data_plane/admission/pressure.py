"""Memory that runs short: nothing further is begun before the kernel ends the process, and with it
every answer under way.

Looked at once a second beside the path; a request reads one number of the gate that it reads
anyway.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.host.memory import give_back

if TYPE_CHECKING:
    from data_plane.admission.gate import Gate
    from data_plane.host.memory import MemoryLimits
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

SHORT_FROM: Final = 0.85
"""The share of the limit from which on memory is short. What is left is for the answers under way
to grow into."""

SHORT_UNTIL: Final = 0.80
"""Lower, so that one answer that ends does not let in the next one that is too many."""

LOOK_INTERVAL_S: Final = 1.0


class MemoryPressure:
    """Watches the limits of this process."""

    def __init__(self, limits: MemoryLimits, gate: Gate, log: Log, metrics: Metrics) -> None:
        self._limits = limits
        self._gate = gate
        self._log = log
        self._metrics = metrics

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            self.look()
            await asyncio.sleep(LOOK_INTERVAL_S)

    def look(self) -> None:
        """Judge what is used now, after what could be given back, if it was too much before."""
        if self._gate.is_memory_short:
            give_back()
        use = self._limits.nearest()
        ratio = use.ratio if use is not None else 0.0
        was_short = self._gate.is_memory_short
        is_short = ratio >= (SHORT_UNTIL if was_short else SHORT_FROM)
        self._metrics.memory_ratio.set(ratio)
        self._metrics.memory_short.set(is_short)
        if is_short == was_short:
            return
        self._gate.judge_memory(is_short=is_short)
        say = self._log.warning if is_short else self._log.info
        say(
            "memory_short" if is_short else "memory_suffices",
            used_bytes=use.used_bytes if use is not None else None,
            limit_bytes=use.limit_bytes if use is not None else None,
            limit=use.limit if use is not None else None,
        )

    def why_not_ready(self) -> str:
        """For the readiness check."""
        return "memory is short" if self._gate.is_memory_short else ""
