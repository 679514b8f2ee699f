"""`pull_replicas`, changed while everything runs, both planes obey; who is away is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

QUICK_S = 15.0


def pulled(stack: Stack, model: str) -> httpx2.Response:
    return httpx2.post(
        stack.plane.url("/api/pull"), json={"model": model, "stream": False}, timeout=60
    )


def holders(stack: Stack, *, model: str) -> int:
    row = stack.api.call("GET", f"/api/proxy/models?model={model}")["results"]
    return sum(cell["state"] != "absent" for each in row for cell in each["nodes"])


def test_both_planes_pull_to_as_many_nodes_as_the_config_says(stack: Stack) -> None:
    nodes = [stack.serving_node(), stack.serving_node()]
    stack.api.config_change(pull_replicas=1)
    stack.await_applied()

    assert pulled(stack, "qwen3:8b").json() == {"status": "success"}
    eventually("it is known", lambda: holders(stack, model="qwen3:8b") == 1, QUICK_S)
    job = stack.api.call("POST", "/api/proxy/pull", {"model": "tinyllama:latest"}, expect={202})
    assert len(job["parts"]) == 1

    stack.api.config_change(pull_replicas=0)
    stack.await_applied()
    assert pulled(stack, "mistral:latest").json() == {"status": "success"}
    eventually("both have it", lambda: holders(stack, model="mistral:latest") == 2, QUICK_S)

    nodes[1].kill()
    eventually(
        "the dead node is named as left out",
        lambda: _left_out(stack) == [f"node-{nodes[1].port}"],
        QUICK_S,
    )


def _left_out(stack: Stack) -> list[str]:
    said = json.loads(pulled(stack, "mistral:latest").content)
    names: list[str] = said.get("left_out", [])
    return names
