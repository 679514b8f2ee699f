"""Changing what nodes hold, through the proxy, against real nodes."""

import asyncio
import gzip
import hashlib
import json
from typing import Any

import pytest
from fakes.faults import FaultKind
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey, Scope

WEIGHTS = b"GGUF" + bytes(range(256)) * 20_000
DIGEST = f"sha256:{hashlib.sha256(WEIGHTS).hexdigest()}"


def records(answer: Any) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.body.splitlines()]


def paths(node: FakeOllama) -> list[str]:
    return [f"{request.method} {request.path}" for request in node.requests]


async def delete(plane: Any, body: dict[str, Any], query: str = "", **headers: str) -> Any:
    url = plane.url(f"/api/delete{query}")
    async with plane.session.delete(url, json=body, headers=headers) as answer:
        return answer.status, await answer.text()


# pull


async def test_a_pull_is_one_pull_at_every_node(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as other:
        await plane.apply(one, other)
        answer = await plane.post("/api/pull", {"model": "tinyllama"})
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/x-ndjson")
        lines = records(answer)
        assert lines[0] == {"status": "pulling manifest"}
        assert lines[-1] == {"status": "success"}
        assert sum(line == {"status": "success"} for line in lines) == 1
        bars = {line["digest"]: line for line in lines if "digest" in line}
        assert bars
        assert all(bar["completed"] == bar["total"] for bar in bars.values())
        for node in (one, other):
            assert node.node.library.find("tinyllama") is not None
        # It is served at once, although no snapshot says so.
        assert (await plane.chat(model="tinyllama")).status == 200
        listed = (await plane.get("/api/tags")).json()["models"]
        assert {model["name"] for model in listed} == {"llama3.2:latest", "tinyllama:latest"}
        line = plane.lines()[0]
        assert (line["route"], line["detail"]) == ("/api/pull", "node-1, node-2")


async def test_a_node_that_fails_is_named_and_the_others_keep_the_model(plane) -> None:
    async with FakeOllama() as good, FakeOllama() as bad:
        await plane.apply(good, bad)
        bad.fault(FaultKind.BAD_CHUNK, after=2)
        lines = records(await plane.post("/api/pull", {"model": "tinyllama"}))
        assert "node-2" in lines[-1]["error"]
        assert "done on node-1" in lines[-1]["error"]
        assert {"status": "success"} not in lines
        assert good.node.library.find("tinyllama") is not None
        assert (await plane.chat(model="tinyllama")).status == 200
        assert plane.lines()[0]["outcome"] == "node_error"


@pytest.mark.parametrize("streaming", [True, False])
async def test_a_model_that_no_registry_has_is_said_as_ollama_says_it(plane, streaming) -> None:
    async with FakeOllama() as one, FakeOllama() as other:
        await plane.apply(one, other)
        answer = await plane.post("/api/pull", {"model": "no-such", "stream": streaming})
        assert answer.status == (200 if streaming else 500)
        assert records(answer)[-1]["error"] == "pull model manifest: file does not exist"


async def test_a_pull_in_one_piece(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post("/api/pull", {"name": "tinyllama", "model": "", "stream": False})
        assert (answer.status, answer.json()) == (200, {"status": "success"})


async def test_who_leaves_ends_the_pull_at_every_node(plane, dial) -> None:
    async with FakeOllama(pull_s=30.0) as one, FakeOllama(pull_s=30.0) as other:
        await plane.apply(one, other)
        client = await dial(plane)
        client.post("/api/pull", {"model": "tinyllama"})
        await client.until(b"pulling manifest")
        client.leave(abruptly=True)
        for node in (one, other):
            await plane.until(lambda node=node: node.node.abandoned["/api/pull"])
        await plane.idle()
        assert plane.lines()[0]["outcome"] == "client_abort"


async def test_a_node_that_dies_in_silence_is_given_up(plane, monkeypatch) -> None:
    monkeypatch.setattr("data_plane.proxy.orders.SILENCE_S", 0.1)
    async with FakeOllama() as node:
        await plane.apply(node)
        node.fault(FaultKind.STALL, path="/api/pull", after=2)
        pulling = asyncio.create_task(plane.post("/api/pull", {"model": "tinyllama"}))
        await plane.until(lambda: "GET /api/version" in paths(node))
        assert not pulling.done(), "it is there: digesting takes long"
        node.fault(FaultKind.SILENCE, path="/api/version")
        assert "probes" in records(await pulling)[-1]["error"]


async def test_a_push_goes_to_one_holder(plane) -> None:
    async with FakeOllama(["mine/model"]) as one, FakeOllama(["mine/model"]) as other:
        await plane.apply(one, other)
        lines = records(await plane.post("/api/push", {"model": "mine/model"}))
        assert lines[-1] == {"status": "success"}
        assert len([path for path in paths(one) + paths(other) if path == "POST /api/push"]) == 1
        missing = await plane.post("/api/push", {"model": "other"})
        assert (missing.status, missing.json()["error"]) == (404, "model 'other' not found")


# delete, copy


async def test_it_is_deleted_wherever_it_is(plane) -> None:
    async with FakeOllama(["a", "b"]) as one, FakeOllama(["a"]) as two, FakeOllama(["b"]) as three:
        await plane.apply(one, two, three)
        assert await delete(plane, {"name": "a"}) == (200, "")
        assert one.node.library.find("a") is two.node.library.find("a") is None
        assert "DELETE /api/delete" not in paths(three)
        assert (await plane.chat(model="a")).status == 404
        status, text = await delete(plane, {"model": "a"})
        assert (status, json.loads(text)["error"]) == (404, "model 'a' not found")


async def test_who_has_lost_it_already_has_nothing_to_delete(plane) -> None:
    async with FakeOllama(["a", "b"]) as one, FakeOllama(["a"]) as two:
        await plane.apply(one, two)
        two.node.library.remove("a")
        assert await delete(plane, {"model": "a"}) == (200, "")
        one.node.library.remove("b")
        status, _ = await delete(plane, {"model": "b"})
        assert status == 404


async def test_a_node_that_cannot_be_reached_is_named(plane) -> None:
    async with FakeOllama(["a"]) as one:
        async with FakeOllama(["a"]) as two:
            await plane.apply(one, two)
        status, text = await delete(plane, {"model": "a"})
        assert status == 502
        said = json.loads(text)
        assert said["error"].startswith("node-2: nothing listens at its address (refused")
        assert said["error"].endswith("(done on node-1)")


async def test_a_copy_is_made_wherever_the_source_is(plane) -> None:
    async with FakeOllama(["a"]) as one, FakeOllama(["a"]) as two, FakeOllama(["b"]) as three:
        await plane.apply(one, two, three)
        answer = await plane.post("/api/copy", {"source": "a", "destination": "c"})
        assert (answer.status, answer.body) == (200, b"")
        assert one.node.library.find("c")
        assert two.node.library.find("c")
        assert three.node.library.find("c") is None
        assert (await plane.chat(model="c")).status == 200
        missing = await plane.post("/api/copy", {"source": "x", "destination": "y"})
        assert (missing.status, missing.json()["error"]) == (404, 'model "x" not found')


@pytest.mark.parametrize("body", [{"source": "a"}, {"source": "a", "destination": "a b"}])
async def test_a_copy_needs_a_name(plane, body) -> None:
    async with FakeOllama(["a"]) as node:
        await plane.apply(node)
        answer = await plane.post("/api/copy", body)
        assert (answer.status, answer.json()["code"]) == (400, "invalid_model")
        assert "POST /api/copy" not in paths(node)


# create and blobs


async def test_a_file_goes_to_every_node_and_a_model_is_made_of_it(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as other:
        await plane.apply(one, other)
        blob = f"/api/blobs/{DIGEST}"
        assert (await plane.get(blob, "HEAD")).status == 404
        assert (await plane.post(blob, WEIGHTS)).status == 201
        assert one.node.library.blobs[DIGEST] == other.node.library.blobs[DIGEST] == WEIGHTS
        assert (await plane.get(blob, "HEAD")).status == 200
        assert (await plane.post(blob, WEIGHTS)).status == 200
        body = {"model": "mine", "files": {"w.gguf": DIGEST}}
        assert records(await plane.post("/api/create", body))[-1] == {"status": "success"}
        assert (await plane.chat(model="mine")).status == 200


async def test_a_file_reaches_only_the_nodes_that_lack_it(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as other:
        await plane.apply(one, other)
        one.node.library.blobs[DIGEST] = WEIGHTS
        assert (await plane.post(f"/api/blobs/{DIGEST}", WEIGHTS)).status == 201
        assert [path for path in paths(one) if path.startswith("POST")] == []
        assert other.node.library.blobs[DIGEST] == WEIGHTS


async def test_a_file_that_is_not_what_it_says_reaches_no_node(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(f"/api/blobs/{DIGEST}", WEIGHTS[1:])
        assert (answer.status, answer.json()["code"]) == (400, "digest_mismatch")
        assert not [path for path in paths(node) if path.startswith("POST")]
        answer = await plane.post("/api/blobs/sha256:abc", WEIGHTS)
        assert (answer.status, answer.json()["error"]) == (400, "invalid digest format")


async def test_a_file_larger_than_there_is_room_for_is_refused(make_plane) -> None:
    plane = await make_plane(AIVONX_SPOOL_BUDGET_BYTES="100000")
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(f"/api/blobs/{DIGEST}", WEIGHTS)
        assert (answer.status, answer.json()["code"]) == (413, "blob_too_large")
        assert "AIVONX_SPOOL_BUDGET_BYTES" in answer.json()["error"]


async def test_a_model_is_made_where_its_base_is(plane) -> None:
    async with FakeOllama(["a"]) as one, FakeOllama(["b"]) as other:
        await plane.apply(one, other)
        body = {"model": "mine", "from": "a", "stream": False}
        assert (await plane.post("/api/create", body)).json() == {"status": "success"}
        assert one.node.library.find("mine")
        assert "POST /api/create" not in paths(other)


async def test_a_model_is_made_where_its_files_are(plane) -> None:
    """A node that has come since the upload is left out, unless it is named."""
    async with FakeOllama() as one, FakeOllama() as two, FakeOllama() as late:
        await plane.apply(one, two)
        assert (await plane.post(f"/api/blobs/{DIGEST}", WEIGHTS)).status == 201
        await plane.apply(one, two, late)
        body = {"model": "mine", "files": {"w.gguf": DIGEST}}
        assert records(await plane.post("/api/create", body))[-1] == {"status": "success"}
        assert one.node.library.find("mine")
        assert two.node.library.find("mine")
        assert "POST /api/create" not in paths(late)
        named = await plane.post("/api/create?nodes=node-3", body)
        assert named.json()["error"] == "blob does not exist"


@pytest.mark.parametrize("files", [7, {"w": 7}, {"w": "abc"}, {}])
async def test_files_that_are_none_are_the_nodes_to_refuse(plane, files) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post("/api/create", {"model": "m", "files": files})
        assert answer.status == 400
        assert paths(node)[0] == "POST /api/create"


async def test_a_file_that_no_node_has_is_the_nodes_error(plane) -> None:
    async with FakeOllama() as one, FakeOllama() as other:
        await plane.apply(one, other)
        answer = await plane.post("/api/create", {"model": "m", "files": {"w": DIGEST}})
        assert (answer.status, answer.json()["error"]) == (400, "blob does not exist")


# who may


def with_key(*scopes: Scope, **more: Any) -> tuple[ApiKey, dict[str, str]]:
    made = mint()
    key = ApiKey(id=made.id, sha256=made.sha256, scopes=scopes, **more)
    return key, {"Authorization": f"Bearer {made.text}"}


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("HEAD", f"/api/blobs/{DIGEST}"),
        ("POST", f"/api/blobs/{DIGEST}"),
    ],
)
async def test_a_key_for_inference_manages_nothing(plane, method, path) -> None:
    """B42."""
    key, headers = with_key(Scope.INFERENCE)
    async with FakeOllama() as node:
        await plane.apply(node, keys=(key,))
        body = b'{"model":"llama3.2","source":"llama3.2","destination":"x"}'
        request = plane.session.request(method, plane.url(path), data=body, headers=headers)
        async with request as answer:
            assert answer.status == 403
            if method != "HEAD":
                assert (await answer.json())["code"] == "scope_required"
        assert not node.requests


async def test_a_key_to_manage_manages_and_sees_but_does_not_ask(plane) -> None:
    key, headers = with_key(Scope.MANAGE)
    async with FakeOllama(["a"]) as node:
        await plane.apply(node, keys=(key,))
        assert (await plane.get("/api/tags", **headers)).json()["models"]
        assert (await plane.post("/api/show", {"model": "a"}, **headers)).status == 200
        said = [{"role": "user", "content": "x"}]
        answer = await plane.post("/api/chat", {"model": "a", "messages": said}, **headers)
        assert (answer.status, answer.json()["code"]) == (403, "model_not_allowed")
        assert await delete(plane, {"model": "a"}, **headers) == (200, "")


async def test_a_key_manages_only_the_models_that_it_may_use(plane) -> None:
    key, headers = with_key(Scope.MANAGE, allowed_models=("*/*/mine*",))
    async with FakeOllama(["mine", "theirs"]) as node:
        await plane.apply(node, keys=(key,))
        for path, body in (
            ("/api/pull", {"model": "tinyllama"}),
            ("/api/copy", {"source": "theirs", "destination": "mine2"}),
            ("/api/copy", {"source": "mine", "destination": "yours"}),
            ("/api/create", {"model": "mine3", "from": "theirs"}),
            ("/api/create", {"model": "mine3", "FROM": "theirs"}),
            ("/api/push", {"model": "theirs"}),
        ):
            answer = await plane.post(path, body, **headers)
            assert (answer.status, answer.json()["code"]) == (403, "model_not_allowed"), path
        assert not node.requests
        copied = await plane.post(
            "/api/copy", {"source": "mine", "destination": "mine2"}, **headers
        )
        assert copied.status == 200


@pytest.mark.parametrize(
    ("path", "body", "is_sent"),
    [
        ("/api/pull", {"model": "evil.example:8443/x/y"}, False),
        ("/api/pull", {"model": "http://10.0.0.1/x/y", "insecure": True}, False),
        ("/api/push", {"model": "evil.example/x/y"}, False),
        ("/api/create", {"model": "mine", "from": "evil.example/x/z"}, False),
        ("/api/create", {"model": "evil.example/mine/m", "from": "a"}, True),
        ("/api/create", {"model": "mine", "from": "evil.example/x/y"}, True),
        ("/api/pull", {"model": "hf.co/org/model:Q4"}, True),
    ],
)
async def test_no_node_is_sent_to_a_strange_registry(plane, path, body, is_sent) -> None:
    """C29; what a node has already, it need not fetch."""
    async with FakeOllama(["a", "evil.example/x/y"]) as node:
        await plane.apply(node)
        answer = await plane.post(path, {**body, "stream": False})
        assert bool(node.requests) is is_sent
        if not is_sent:
            assert (answer.status, answer.json()["code"]) == (400, "registry_not_allowed")


@pytest.mark.parametrize("model", ["file:///etc/passwd", "../../etc/passwd", "sha256:../../x"])
async def test_what_is_no_name_reaches_no_node(plane, model) -> None:
    """C29."""
    async with FakeOllama(["a"]) as node:
        await plane.apply(node)
        answer = await plane.post("/api/pull", {"model": model})
        assert (answer.status, answer.json()["code"]) == (400, "invalid_model")
        assert not node.requests


@pytest.mark.parametrize("headers", [{}, {"Content-Encoding": "gzip"}])
async def test_what_is_too_large_for_an_order_is_told_to_be_sent_as_blobs(plane, headers) -> None:
    body = json.dumps({"model": "mine", "system": "x" * 5_000_000}).encode()
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post(
            "/api/create", gzip.compress(body) if headers else body, **headers
        )
        assert (answer.status, answer.json()["code"]) == (413, "payload_too_large")
        assert "/api/blobs/" in answer.json()["error"]
