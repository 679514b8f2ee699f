"""`/api/show` through the proxy: asked once, remembered until the model changes."""

from contextlib import ExitStack
from dataclasses import replace

import pytest
from fakes.ollama import FakeOllama
from fakes.ollama_models import made

from data_plane.proxy.shows import MAX_ENTRIES, MAX_ENTRY_BYTES, MAX_KEPT_BYTES, ShowCache
from shared.credentials import mint
from shared.snapshot import ApiKey

OTHER = replace(made("llama3.2"), digest="f" * 64)


def asked(node: FakeOllama) -> int:
    return sum(seen.path == "/api/show" for seen in node.requests)


async def test_it_is_asked_once_however_it_is_spelled(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        first = await plane.post("/api/show", {"model": "llama3.2"})
        again = await plane.post("/api/show", {"name": "LLAMA3.2:latest", "verbose": False})
        assert first.status == again.status == 200
        assert first.body == again.body
        assert first.headers["X-Aivonx-Node"] == "node-1"
        assert again.headers["Content-Type"] == "application/json; charset=utf-8"
        assert asked(node) == 1
        await plane.until(lambda: len(plane.lines()) == 2)
        assert [line["outcome"] for line in plane.lines()] == ["ok", "ok"]


async def test_a_verbose_answer_is_another_one(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        for verbose in (False, True, False, True):
            await plane.post("/api/show", {"model": "llama3.2", "verbose": verbose})
        assert asked(node) == 2


@pytest.mark.parametrize("more", [{"system": "Be brief."}, {"options": {"num_ctx": 9}}])
async def test_what_is_said_to_one_request_is_not_remembered(plane, more) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        for _ in range(2):
            assert (await plane.post("/api/show", {"model": "llama3.2", **more})).status == 200
        assert asked(node) == 2


async def test_a_client_that_ollama_answers_differently_is_answered_differently(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        body = {"model": "llama3.2"}
        await plane.post("/api/show", body)
        await plane.post("/api/show", body, **{"User-Agent": "GitHubCopilotChat/0.30"})
        assert asked(node) == 2


async def test_a_new_digest_is_asked_for_anew(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.post("/api/show", {"model": "llama3.2"})
        node.node.library.add(OTHER)
        await plane.apply(node)
        await plane.post("/api/show", {"model": "llama3.2"})
        assert asked(node) == 1  # `apply` forgets what came before it


async def test_what_a_drifted_copy_says_is_not_taken_for_the_served_one(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as two, FakeOllama() as odd:
        odd.node.library.add(OTHER)
        await plane.apply(one, two, odd)
        for node in (one, two):
            await node.refuse()
        assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200
        for node in (one, two):
            await node.accept()
        await plane.until(lambda: not plane.app.circuits.down)
        assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200
        assert asked(odd) == 1
        assert asked(one) + asked(two) == 1


async def test_what_is_known_is_told_while_no_node_is_there(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.post("/api/show", {"model": "llama3.2"})
        await node.refuse()
        assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200
        assert (await plane.post("/api/show", {"model": "gone"})).status == 404


async def test_a_key_sees_its_own_models_only(plane) -> None:
    all_models, one_model = mint(), mint()
    keys = (
        ApiKey(id=all_models.id, sha256=all_models.sha256),
        ApiKey(id=one_model.id, sha256=one_model.sha256, allowed_models=("*/qwen3:*",)),
    )
    async with FakeOllama() as node:
        await plane.apply(node, keys=keys)
        body = {"model": "llama3.2"}
        for key, status in ((all_models, 200), (one_model, 403)):
            header = {"Authorization": f"Bearer {key.text}"}
            assert (await plane.post("/api/show", body, **header)).status == status
        assert (await plane.post("/api/show", body)).status == 401


async def test_an_error_is_not_remembered(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault("status", path="/api/show", status=400, text="not today", times=1)
        answer = await plane.post("/api/show", {"model": "llama3.2"})
        assert (answer.status, answer.json()["error"]) == (400, "not today")
        assert (await plane.post("/api/show", {"model": "llama3.2"})).status == 200


async def test_another_node_is_asked_when_one_breaks_off(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        first.fault("reset", path="/api/show")
        with ExitStack() as load:
            load.enter_context(plane.app.leases.take("n2", 0.0))
            answer = await plane.post("/api/show", {"model": "llama3.2"})
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")


def test_the_cache_is_bounded() -> None:
    cache = ShowCache()
    for number in range(MAX_ENTRIES + 10):
        cache.put((f"m{number}", "d", False, False), b"{}")
    assert cache.get(("m9", "d", False, False)) is None
    assert cache.get(("m10", "d", False, False)) == b"{}"
    large = b"x" * MAX_ENTRY_BYTES
    cache.put(("huge", "d", True, False), large + b"x")
    assert cache.get(("huge", "d", True, False)) is None
    for number in range(MAX_KEPT_BYTES // MAX_ENTRY_BYTES + 1):
        cache.put((f"large{number}", "d", True, False), large)
    assert cache.get(("large0", "d", True, False)) is None
    assert cache.get(("large1", "d", True, False)) == large


def test_a_cleared_cache_knows_nothing_and_has_room_again() -> None:
    cache = ShowCache()
    large = b"x" * MAX_ENTRY_BYTES
    for number in range(MAX_KEPT_BYTES // MAX_ENTRY_BYTES):
        cache.put((f"m{number}", "d", False, False), large)
    cache.clear()
    assert cache.get(("m0", "d", False, False)) is None
    for number in range(MAX_KEPT_BYTES // MAX_ENTRY_BYTES):
        cache.put((f"n{number}", "d", False, False), large)
    assert cache.get(("n0", "d", False, False)) == large


async def test_what_was_changed_through_us_is_asked_for_anew(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.post("/api/show", {"model": "llama3.2"})
        body = {"model": "polite", "from": "llama3.2", "system": "Be polite."}
        assert (await plane.post("/api/create", body)).status == 200
        shown = await plane.post("/api/show", {"model": "polite"})
        assert shown.json()["system"] == "Be polite."
        body["system"] = "Be curt."
        assert (await plane.post("/api/create", body)).status == 200
        shown = await plane.post("/api/show", {"model": "polite"})
        assert shown.json()["system"] == "Be curt."
