"""An operator pulls a model to two nodes through the API, and the cluster serves it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fakes.marks import on_both_databases
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack

MODEL = "qwen3:8b"
PULL_S = 4.0
QUICK_S = 15.0
LEASE_AND_START_S = 75.0
"""The dead worker's lease (30 s), its beat's lock (10 s), the start of another, and the pull."""


def pull(stack: Stack) -> str:
    """Ask for the model on every node; answers with the job's path."""
    job = stack.api.call("POST", "/api/proxy/pull", {"model": MODEL}, expect={202})
    return f"/api/proxy/jobs/{job['id']}"


def read(stack: Stack, job: str) -> dict[str, Any]:
    answer: dict[str, Any] = stack.api.call("GET", job)
    return answer


def is_downloading(stack: Stack, job: str) -> bool:
    parts = read(stack, job)["parts"]
    return len(parts) == 2 and all(0 < (part["percent"] or 0) < 100 for part in parts)


@on_both_databases
def test_a_pull_is_seen_on_its_way_and_served_when_it_is_done(stack: Stack) -> None:
    nodes = [stack.serving_node(), stack.serving_node()]
    for node in nodes:
        node.pull_slowly(PULL_S)
    assert stack.plane.chat(MODEL).status_code == 404

    job = pull(stack)
    eventually("both are on their way", lambda: is_downloading(stack, job), QUICK_S)
    row = stack.api.call("GET", f"/api/proxy/models?model={MODEL}")["results"][0]
    assert [cell["state"] for cell in row["nodes"]] == ["pulling", "pulling"]

    eventually("it is done", lambda: read(stack, job)["state"] == "succeeded", QUICK_S)
    stack.await_applied()
    assert stack.plane.chat(MODEL).status_code == 200
    assert {MODEL} <= set(stack.models_of(nodes[0].id)) & set(stack.models_of(nodes[1].id))


def test_a_pull_goes_on_when_its_worker_is_killed(stack: Stack) -> None:
    nodes = [stack.serving_node(), stack.serving_node()]
    for node in nodes:
        node.pull_slowly(PULL_S)
    job = pull(stack)
    eventually("both are on their way", lambda: is_downloading(stack, job), QUICK_S)

    stack.worker.kill()
    eventually("the nodes stop", lambda: [n.pulls_left() for n in nodes] == [1, 1], QUICK_S)
    assert read(stack, job)["state"] == "running"
    stack.start_worker()

    eventually("it is done", lambda: read(stack, job)["state"] == "succeeded", LEASE_AND_START_S)
    assert {part["tries"] for part in read(stack, job)["parts"]} == {2}
    assert stack.plane.chat(MODEL).status_code == 200


def test_a_cancelled_pull_stops_at_the_nodes_and_goes_on_when_retried(stack: Stack) -> None:
    nodes = [stack.serving_node(), stack.serving_node()]
    for node in nodes:
        node.pull_slowly(PULL_S)
    job = pull(stack)
    eventually("both are on their way", lambda: is_downloading(stack, job), QUICK_S)

    stack.api.call("POST", f"{job}/cancel")
    eventually("it is over", lambda: read(stack, job)["state"] == "cancelled", QUICK_S)
    assert [node.pulls_left() for node in nodes] == [1, 1]
    assert stack.plane.chat(MODEL).status_code == 404

    stack.api.call("POST", f"{job}/retry")
    eventually("it is done", lambda: read(stack, job)["state"] == "succeeded", QUICK_S)
    stack.await_applied()
    assert stack.plane.chat(MODEL).status_code == 200
