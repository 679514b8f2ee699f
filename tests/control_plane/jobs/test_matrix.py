from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fakes.ollama_models import FakeModel

from control_plane.jobs import runs
from control_plane.jobs.models import JobPart

if TYPE_CHECKING:
    from rest_framework.test import APIClient

MODELS = "/api/proxy/models"

pytestmark = pytest.mark.usefixtures("db")


def rows(client: APIClient, query: str = "") -> dict[str, Any]:
    return {row["model"]: row for row in client.get(f"{MODELS}?{query}").data["results"]}


def states(row: dict[str, Any]) -> dict[str, str]:
    return {cell["node"]: cell["state"] for cell in row["nodes"]}


def test_every_model_has_a_cell_for_every_node(node, ask, as_viewer: APIClient) -> None:
    node("llama3.2", "me/mine:v1", name="one")
    node("llama3.2", name="two")
    shown = rows(as_viewer)
    assert list(shown) == ["llama3.2:latest", "me/mine:v1"]
    assert states(shown["llama3.2:latest"]) == {"one": "on_disk", "two": "on_disk"}
    assert states(shown["me/mine:v1"]) == {"one": "on_disk", "two": "absent"}
    cell = shown["llama3.2:latest"]["nodes"][0]
    assert (cell["drifts"], cell["size_bytes"]) == (False, 2_019_393_189)
    assert set(shown["me/mine:v1"]["nodes"][1]) == {"node_id", "node", "state"}


def test_loaded_pulling_and_loading_are_seen(
    node, ask, as_viewer: APIClient, as_operator: APIClient
) -> None:
    from control_plane.jobs import runner

    node("llama3.2", "qwen3:8b", name="one")
    ask("models/load", model="llama3.2")
    runner.jobs_run()
    ask("models/load", model="qwen3:8b")
    pull = ask("pull", model="mistral")
    runs.jobs_claim("worker", 10)
    JobPart.objects.filter(job=pull).update(total_bytes=200, completed_bytes=50)
    shown = rows(as_viewer)
    assert {name: states(row)["one"] for name, row in shown.items()} == {
        "llama3.2:latest": "loaded",
        "mistral:latest": "pulling",
        "qwen3:8b": "loading",
    }
    assert shown["llama3.2:latest"]["nodes"][0]["loaded"]["context_length"] > 0
    job = shown["mistral:latest"]["nodes"][0]["job"]
    assert (job["id"], job["state"], job["percent"]) == (str(pull.pk), "running", 25.0)


def test_nodes_with_another_version_are_named(node, as_viewer: APIClient) -> None:
    node("llama3.2", name="one")
    node("llama3.2", name="two")
    other = FakeModel("llama3.2:latest", digest="f" * 64)
    node(other, name="three")
    node("qwen3:8b", name="four")
    row = rows(as_viewer, "drift=true")["llama3.2:latest"]
    assert row["has_drift"]
    assert row["digests"]["f" * 64] == 1
    drifting = [cell["node"] for cell in row["nodes"] if cell.get("drifts")]
    assert drifting == ["three"]
    assert list(rows(as_viewer, "drift=false")) == ["qwen3:8b"]


def test_rows_and_columns_are_narrowed(node, as_viewer: APIClient) -> None:
    one = node("llama3.2", "qwen3:8b", name="one").row
    node("qwen3:8b", name="two")
    assert list(rows(as_viewer, "search=LLAMA")) == ["llama3.2:latest"]
    assert list(rows(as_viewer, "model=Qwen3:8b")) == ["qwen3:8b"]
    assert list(rows(as_viewer, "state=absent")) == ["llama3.2:latest"]
    assert list(rows(as_viewer, "node=two")) == ["qwen3:8b"]
    assert states(rows(as_viewer, f"node={one.pk}")["qwen3:8b"]) == {"one": "on_disk"}
    page = as_viewer.get(f"{MODELS}?limit=1&offset=1").data
    assert (page["count"], [row["model"] for row in page["results"]]) == (2, ["qwen3:8b"])


@pytest.mark.parametrize(
    "query", ["state=there", "drift=perhaps", "node=nobody", "model=a/b/c/d", "kind=x", "limit=no"]
)
def test_what_the_matrix_does_not_offer_is_refused(as_viewer: APIClient, query: str) -> None:
    answer = as_viewer.get(f"{MODELS}?{query}")
    assert (answer.status_code, answer.data["code"]) == (400, "invalid_filter")


def test_a_fleet_without_nodes_has_no_rows(as_viewer: APIClient) -> None:
    page = as_viewer.get(MODELS).data
    assert page == {"count": 0, "next": None, "previous": None, "results": []}
