"""Live and ready are two questions."""

import asyncio
import time

from data_plane.telemetry import health
from data_plane.telemetry.health import LoopLag
from data_plane.telemetry.metrics import Metrics


async def test_a_blocked_loop_makes_the_instance_not_ready(monkeypatch) -> None:
    """F41."""
    monkeypatch.setattr(health, "LAG_INTERVAL_S", 0.01)
    monkeypatch.setattr(health, "LAG_LIMIT_S", 0.02)
    monkeypatch.setattr(health, "LAG_PATIENCE_S", 0.1)
    lag = LoopLag(Metrics())
    watching = asyncio.create_task(lag.watch())
    assert lag.why_not_ready() == ""
    for _ in range(4):
        await asyncio.sleep(0)
        time.sleep(0.05)
        await asyncio.sleep(0.001)
    await asyncio.sleep(0)
    assert lag.why_not_ready()
    async with asyncio.timeout(2.0):
        while lag.why_not_ready():
            await asyncio.sleep(0.01)
    watching.cancel()


async def test_only_the_three_questions_are_answered(plane) -> None:
    """S09."""
    base = f"http://127.0.0.1:{plane.app.ports[1]}"
    for path, status in {"/livez": 200, "/readyz": 503, "/metrics": 200, "/api/tags": 404}.items():
        async with plane.session.get(base + path) as answer:
            assert answer.status == status
    async with plane.session.post(base + "/livez") as answer:
        assert answer.status == 405
