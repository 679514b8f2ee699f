"""/livez, /readyz and /metrics, on a bind of their own: operators and orchestrators ask here.

Live: the process runs. Ready: it can serve. Not ready is no reason to restart it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.telemetry.metrics import Metrics

LAG_INTERVAL_S: Final = 0.5
LAG_LIMIT_S: Final = 1.0
LAG_PATIENCE_S: Final = 5.0
"""A loop that is late by more than a second for this long makes the instance not ready."""

Check = tuple[str, "Callable[[], str]"]
"""A name, and a question whose answer is why not, "" when all is well."""


class LoopLag:
    """Measures how late the event loop's timers are."""

    def __init__(self, metrics: Metrics) -> None:
        self.seconds = 0.0
        self._late_for_s = 0.0
        self._metrics = metrics

    async def watch(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            before = loop.time()
            await asyncio.sleep(LAG_INTERVAL_S)
            elapsed = loop.time() - before
            self.seconds = max(0.0, elapsed - LAG_INTERVAL_S)
            self._metrics.loop_lag.set(self.seconds)
            is_late = self.seconds > LAG_LIMIT_S
            self._late_for_s = self._late_for_s + elapsed if is_late else 0.0

    def why_not_ready(self) -> str:
        """For the readiness check."""
        return "the event loop is blocked" if self._late_for_s > LAG_PATIENCE_S else ""


class Health:
    """Answers the three questions."""

    def __init__(
        self, metrics: Metrics, checks: tuple[Check, ...], facts: Callable[[], dict[str, object]]
    ) -> None:
        self._metrics = metrics
        self._checks = checks
        self._facts = facts

    @property
    def is_ready(self) -> bool:
        """Whether every check passes."""
        return not any(why() for _, why in self._checks)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request of an operator."""
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="405 method not allowed", headers={"Allow": "GET"})
        match request.path:
            case "/livez":
                return web.Response(text="ok")
            case "/readyz":
                return self._readiness(is_verbose="verbose" in request.query)
            case "/metrics":
                return web.Response(
                    body=self._metrics.exposition(),
                    headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
                )
            case _:
                return web.Response(status=404, text="404 page not found")

    def _readiness(self, *, is_verbose: bool) -> web.Response:
        results = {name: why() for name, why in self._checks}
        is_ready = not any(results.values())
        status = 200 if is_ready else 503
        if not is_verbose:
            return web.Response(status=status, text="ok" if is_ready else "not ready")
        body = {
            "ready": is_ready,
            "checks": {name: why or "ok" for name, why in results.items()},
            **self._facts(),
        }
        return web.Response(
            status=status, body=msgspec.json.encode(body), content_type="application/json"
        )
