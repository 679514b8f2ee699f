"""A key holds, and stops holding, on every data plane within two seconds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import httpx2
from fakes.processes import eventually
from fakes.stack import APPLY_S

if TYPE_CHECKING:
    from fakes.stack import Stack

ALLOWED = "llama3.2:latest"
FORBIDDEN = "mistral:latest"
SPELLINGS = (
    "mistral",
    "mistral:latest",
    "MISTRAL:Latest",
    "library/mistral",
    "registry.ollama.ai/library/mistral:latest",
    "Registry.Ollama.AI/Library/Mistral",
)


def test_the_first_key_closes_the_door_and_its_revocation_shuts_it_out(stack: Stack) -> None:
    """C27."""
    stack.serving_node()
    plane = stack.plane
    assert plane.chat("llama3.2").status_code == 200

    key = stack.api.key_create("first")
    eventually("a key is required", lambda: plane.chat("llama3.2").status_code == 401, APPLY_S)
    assert plane.chat("llama3.2", key=key["key"]).status_code == 200
    typo = key["key"][:-1] + ("x" if key["key"][-1] != "x" else "y")
    assert plane.chat("llama3.2", key=typo).status_code == 401

    stack.api.key_change(key["id"], enabled=False)
    eventually(
        "it is refused", lambda: plane.chat("llama3.2", key=key["key"]).status_code == 401, APPLY_S
    )


def test_a_key_may_be_sent_in_each_of_the_three_ways(stack: Stack) -> None:
    stack.serving_node()
    key = stack.api.key_create("first")["key"]
    stack.await_applied()
    body = {"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}], "stream": False}

    def status(path: str, headers: dict[str, str]) -> int:
        url = stack.plane.url(path)
        return httpx2.post(url, json=body, headers=headers, timeout=10).status_code

    assert status("/api/chat", {"Authorization": f"Bearer {key}"}) == 200
    assert status("/api/chat", {"x-api-key": key}) == 200
    assert status(f"/k/{key}/api/chat", {}) == 200
    assert status("/api/chat", {}) == 401


def test_a_forbidden_model_is_forbidden_in_every_spelling(stack: Stack) -> None:
    """B64, B65."""
    node = stack.serving_node(ALLOWED, FORBIDDEN)
    key = stack.api.key_create("narrow", allowed_models=[ALLOWED])["key"]
    stack.await_applied()

    statuses = {spelling: stack.plane.chat(spelling, key=key).status_code for spelling in SPELLINGS}

    assert statuses == dict.fromkeys(SPELLINGS, 403)
    assert stack.plane.chat("LLAMA3.2", key=key).status_code == 200
    assert node.models_asked() == ["LLAMA3.2"]


def test_a_second_spelling_of_the_model_key_does_not_smuggle_one_in(stack: Stack) -> None:
    """B62."""
    node = stack.serving_node(ALLOWED, FORBIDDEN)
    key = stack.api.key_create("narrow", allowed_models=[ALLOWED])["key"]
    stack.await_applied()

    answer = stack.plane.chat(ALLOWED, key=key, MODEL=FORBIDDEN)

    assert answer.status_code == 400
    assert node.models_asked() == []


def test_a_key_expires_by_the_data_planes_own_clock(stack: Stack) -> None:
    """F54."""
    stack.serving_node()
    expires_at = datetime.now(tz=UTC) + timedelta(seconds=3)
    key = stack.api.key_create("short", expires_at=expires_at.isoformat())["key"]
    stack.await_applied()
    assert stack.plane.chat("llama3.2", key=key).status_code == 200
    stack.control.kill()
    stack.worker.kill()

    eventually(
        "it has expired", lambda: stack.plane.chat("llama3.2", key=key).status_code == 401, 5
    )
