"""The catalogue and management routes of the fake, and what the server refuses before a route."""

import hashlib
import json
import re

import ollama
import pytest
from fakes.ollama import FakeOllama
from fakes.rawclient import RawClient


async def test_the_root_says_that_it_runs(node, http):
    async with http.get(node.url) as answer:
        assert await answer.read() == b"Ollama is running"
        assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert "Server" not in answer.headers
    for path in ("/", "/api/version", "/api/tags"):
        async with http.head(node.url + path) as answer:
            assert (answer.status, await answer.read()) == (200, b"")


async def test_version_and_status(node, http):
    async with http.get(f"{node.url}/api/version") as answer:
        assert await answer.read() == b'{"version":"0.33.0"}'
    async with http.get(f"{node.url}/api/status") as answer:
        assert (await answer.json())["cloud"]["disabled"] is False


async def test_tags_are_sorted_by_time_and_complete(node, http):
    async with http.get(f"{node.url}/api/tags") as answer:
        models = (await answer.json())["models"]
    assert [model["modified_at"] for model in models] == sorted(
        (model["modified_at"] for model in models), reverse=True
    )
    for model in models:
        assert model["name"] == model["model"]
        assert re.fullmatch(r"[0-9a-f]{64}", model["digest"])
        assert model["details"].keys() >= {"family", "families", "format", "parent_model"}
        assert model["capabilities"]
    async with FakeOllama([]) as bare, http.get(f"{bare.url}/api/tags") as answer:
        assert await answer.read() == b'{"models":[]}'


async def test_two_nodes_with_one_model_have_one_digest(node):
    async with FakeOllama(["LLAMA3.2"]) as other:
        mine, theirs = node.node.library.find("llama3.2"), other.node.library.find("llama3.2")
    assert mine
    assert theirs
    assert mine.digest == theirs.digest


async def test_ps_shows_a_loaded_model_without_its_parent(node, client, http):
    await client.generate("library/LLAMA3.2", "", options={"num_ctx": 8_192})
    async with http.get(f"{node.url}/api/ps") as answer:
        (entry,) = (await answer.json())["models"]
    assert entry["name"] == entry["model"] == "llama3.2:latest"
    assert entry["context_length"] == 8_192
    assert entry["size_vram"] == entry["size"]
    assert "parent_model" not in entry["details"]
    forever = await client.generate("llama3.2", "", keep_alive=-1)
    assert forever.done_reason == "load"
    assert int(str((await client.ps()).models[0].expires_at)[:4]) > 2_300


async def test_show_has_what_the_clients_read(client, node, http):
    shown = await client.show("llama3.2")
    assert shown.capabilities == ["completion", "tools"]
    assert shown.modelinfo["general.architecture"] == "llama"
    async with http.post(f"{node.url}/api/show", json={"model": "", "name": "qwen3:8b"}) as answer:
        assert "thinking" in (await answer.json())["capabilities"]


async def test_a_pull_reports_progress_and_installs(client, node):
    records = [record async for record in await client.pull("mistral", stream=True)]
    assert records[0].status == "pulling manifest"
    assert records[-1].status == "success"
    layers = [record for record in records if record.digest]
    assert layers[-1].completed == layers[-1].total
    assert node.node.library.find("mistral:latest")
    assert (await client.pull("tinyllama")).status == "success"


async def test_pulling_an_unknown_model_is_a_200_with_an_error_record(node, http):
    async with http.post(f"{node.url}/api/pull", json={"name": "gone"}) as answer:
        assert answer.status == 200
        records = [json.loads(line) async for line in answer.content]
    assert records == [
        {"status": "pulling manifest"},
        {"error": "pull model manifest: file does not exist"},
    ]
    async with http.post(f"{node.url}/api/pull", json={"model": "gone", "stream": False}) as answer:
        assert answer.status == 500


async def test_copy_delete_and_push(client, node, http):
    assert (await client.copy("llama3.2", "me/mine:v1")).status == "success"
    names = [model.model for model in (await client.list()).models]
    assert "me/mine:v1" in names
    pushed = [record.status async for record in await client.push("me/mine:v1", stream=True)]
    assert pushed[-1] == "success"
    async with http.delete(f"{node.url}/api/delete", json={"model": "me/mine:v1"}) as answer:
        assert (answer.status, await answer.read()) == (200, b"")
    with pytest.raises(ollama.ResponseError, match="model 'me/mine:v1' not found"):
        await client.delete("me/mine:v1")
    with pytest.raises(ollama.ResponseError, match="file does not exist"):
        await client.push("me/mine:v1")


async def test_blobs_and_create(client, node, http):
    data = b"weights" * 1_000
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    url = f"{node.url}/api/blobs/{digest}"
    async with http.head(url) as answer:
        assert answer.status == 404
    async with http.post(url, data=b"other") as answer:
        assert (answer.status, "digest mismatch" in await answer.text()) == (400, True)
    for status in (201, 200):
        async with http.post(url, data=data) as answer:
            assert (answer.status, await answer.read()) == (status, b"")
    async with http.head(url) as answer:
        assert answer.status == 200
    async with http.post(f"{node.url}/api/blobs/md5:1", data=b"") as answer:
        assert (await answer.json())["error"] == "invalid digest format"
    made = await client.create("custom", files={"w.gguf": digest}, system="be kind")
    assert made.status == "success"
    assert (await client.show("custom")).model_dump()["capabilities"]
    derived = [step.status async for step in await client.create("d", from_="custom", stream=True)]
    assert derived[-1] == "success"


async def test_a_known_blob_is_answered_before_its_body_is_read(node):
    data = b"w"
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    node.node.library.blobs[digest] = data
    async with RawClient.to(node.url) as raw:
        await raw.send(
            f"POST /api/blobs/{digest} HTTP/1.1\r\nHost: localhost\r\n".encode(),
            b"Content-Length: 1000000\r\n\r\nfirst bytes",
        )
        assert (await raw.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("method", "path", "refusal"),
    [
        ("GET", "/nowhere", (404, "404 page not found")),
        ("GET", "/api/health", (404, "404 page not found")),
        ("POST", "/v1/moderations", (404, "404 page not found")),
        ("GET", "/api/chat", (405, "405 method not allowed")),
        ("POST", "/api/delete", (405, "405 method not allowed")),
        ("GET", f"/api/blobs/sha256:{'0' * 64}", (405, "405 method not allowed")),
    ],
)
async def test_what_is_no_route_is_answered_in_text(node, http, method, path, refusal):
    async with http.request(method, node.url + path) as answer:
        assert (answer.status, await answer.text()) == refusal
        assert answer.headers["Content-Type"] == "text/plain"


async def test_a_node_may_have_a_health_route(http):
    async with FakeOllama(health_route=True) as node, http.get(f"{node.url}/api/health") as answer:
        assert answer.status == 200


async def test_slashes_too_many_are_redirected(node, http):
    for method, path, status in (
        ("GET", "/api/tags/", 301),
        ("POST", "/api/chat/", 307),
        ("POST", "/api//chat", 307),
    ):
        async with RawClient.to(node.url) as raw:
            await raw.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await raw.read_until(b"\r\n\r\n")
        assert head.startswith(f"HTTP/1.1 {status}".encode()), (path, head)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "http://localhost:3000"}, 200),
        ({"Origin": "app://obsidian.md"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "box.local:11434"}, 200),
        ({"Host": "192.168.1.2"}, 200),
    ],
)
async def test_a_foreign_origin_or_host_is_refused_without_a_word(node, http, headers, status):
    async with http.get(f"{node.url}/api/version", headers=headers) as answer:
        assert answer.status == status
        if status == 403:
            assert await answer.read() == b""


async def test_everything_that_arrives_is_recorded(node, http):
    ask = b'{"model":"llama3.2", "messages":[], "keep_alive":0}'
    headers = {"X-Trace": "a", "Authorization": "Bearer z"}
    async with http.post(f"{node.url}/api/chat?x=1", data=ask, headers=headers) as answer:
        assert answer.status == 200
    seen = node.requests[-1]
    assert (seen.method, seen.path, seen.body) == ("POST", "/api/chat?x=1", ask)
    assert seen.header("x-trace") == "a"
    assert ("Authorization", "Bearer z") in seen.headers
    assert node.inference == [seen]


async def test_a_node_that_is_not_signed_in_says_where_to(node, http):
    async with http.post(f"{node.url}/api/me") as answer:
        body = await answer.json()
    assert answer.status == 401
    assert body["signin_url"].startswith("https://ollama.com/connect")
