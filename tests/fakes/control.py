"""`/__control`: how another process steers a fake node and reads what it saw.

GET     counts, models in memory, and the recorded requests (bodies in base64); with `?brief=1`
        without the requests, for callers that poll
POST    {"faults": [{"kind": ...}], "clear_faults": true, "forget": true, "refuse_s": 2.0,
         "add_models": [...], "remove_models": [...], "speed": {"load_s": 1.0},
         "health_route": true}
A real node has no such route, so a proxy that forwards it is wrong.
"""

import asyncio
import base64
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from fakes.ollama_json import Json
from fakes.ollama_node import Recorded

if TYPE_CHECKING:
    from fakes.ollama import FakeOllama

CONTROL_PATH: Final = "/__control"
# Kept here so that the task of a `refuse_s` is not collected before it ends.
_refusals: set[asyncio.Task[None]] = set()


async def control(fake: "FakeOllama", request: web.Request) -> web.Response:
    """Answer one control request."""
    if request.method == "POST":
        _steer(fake, await request.json())
    seen = _seen(fake)
    if "brief" not in request.query:
        seen["requests"] = [_recorded(one) for one in fake.requests]
    return web.json_response(seen)


def _recorded(seen: Recorded) -> Json:
    return {
        "method": seen.method,
        "path": seen.path,
        "headers": seen.headers,
        "body": base64.b64encode(seen.body).decode(),
    }


def _seen(fake: "FakeOllama") -> Json:
    count = fake.count
    return {
        "name": fake.node.name,
        "active": count.active,
        "peak": count.peak,
        "cancelled": count.cancelled,
        "finished": count.finished,
        "loads": fake.node.scheduler.loads,
        "loaded": [entry["name"] for entry in fake.node.scheduler.listed()],
        "models": [model.name for model in fake.node.library.newest_first()],
        "paths": fake.node.paths,
        "abandoned": fake.node.abandoned,
    }


def _steer(fake: "FakeOllama", wish: dict[str, Any]) -> None:
    if wish.get("clear_faults"):
        fake.clear_faults()
    if wish.get("forget"):
        fake.requests.clear()
        fake.node.paths.clear()
        fake.node.abandoned.clear()
        fake.node.scheduler.empty()
    for fault in wish.get("faults", []):
        fake.fault(fault.pop("kind"), **fault)
    for name in wish.get("add_models", []):
        fake.node.library.add(name)
    for name in wish.get("remove_models", []):
        fake.node.library.remove(name)
    for knob, value in wish.get("speed", {}).items():
        setattr(fake.node.speed, knob, float(value))
    if "health_route" in wish:
        fake.node.health_route = bool(wish["health_route"])
    if "refuse_s" in wish:
        task = asyncio.create_task(_refuse(fake, float(wish["refuse_s"])), name="fake-refuse")
        _refusals.add(task)
        task.add_done_callback(_refusals.discard)


async def _refuse(fake: "FakeOllama", seconds: float) -> None:
    # The answer to the one who asked goes out first.
    await asyncio.sleep(0.05)
    await fake.refuse()
    await asyncio.sleep(seconds)
    await fake.accept()
