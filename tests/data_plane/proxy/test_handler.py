"""What a client may ask, in which words it is refused, and that every request is accounted for."""

import asyncio
import json

import pytest
from fakes.ollama import FakeOllama

from shared.credentials import mint
from shared.snapshot import ApiKey, ProxyConfig

ALICE = mint()
CHAT = {"model": "llama3.2", "messages": [{"role": "user", "content": "Why?"}]}


def key(**fields) -> tuple[ApiKey, ...]:
    return (ApiKey(id=ALICE.id, sha256=ALICE.sha256, **fields),)


async def test_before_any_snapshot_everything_waits(plane) -> None:
    """F42: keys might exist, so nothing is served."""
    for path in ("/", "/api/tags", "/api/version"):
        answer = await plane.get(path)
        assert answer.status == 503
        assert answer.json()["code"] == "not_ready"
        assert "Retry-After" in answer.headers
    assert (await plane.chat()).status == 503


async def test_the_catalogue_is_answered_from_memory(plane) -> None:
    async with FakeOllama(models=["llama3.2", "qwen3:8b"]) as first, FakeOllama() as second:
        await plane.apply(first, second)
        assert (await plane.get("/")).text() == "Ollama is running"
        head = await plane.get("/", "HEAD")
        assert (head.status, head.body) == (200, b"")
        assert (await plane.get("/api/version")).json() == {"version": "0.33.0"}
        names = [model["name"] for model in (await plane.get("/api/tags")).json()["models"]]
        assert sorted(names) == ["llama3.2:latest", "qwen3:8b"]
        assert (await plane.get("/api/ps")).json() == {"models": []}
        assert (await plane.get("/v1/models")).json()["object"] == "list"
        assert (await plane.get("/v1/models/llama3.2")).json()["id"] == "llama3.2:latest"
        missing = await plane.get("/v1/models/nope")
        assert (missing.status, missing.json()["error"]["code"]) == (404, "model_not_found")
        assert not first.requests
        assert not second.requests


async def test_show_is_answered_by_a_holder(plane) -> None:
    async with FakeOllama() as first, FakeOllama(models=["qwen3:8b"]) as second:
        await plane.apply(first, second)
        answer = await plane.post("/api/show", {"name": "qwen3:8b"})
        assert answer.status == 200
        assert "details" in answer.json()
        assert (await plane.post("/api/show", {"model": "nope"})).status == 404


async def test_what_is_loaded_is_seen_without_waiting_for_the_sweep(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()
        await plane_until(plane, lambda ps: [model["name"] for model in ps] == ["llama3.2:latest"])
        unload = await plane.post("/api/generate", {"model": "llama3.2", "keep_alive": 0})
        assert unload.json()["done_reason"] == "unload"
        await plane_until(plane, lambda ps: ps == [])


async def plane_until(plane, question) -> None:
    async with asyncio.timeout(5.0):
        while not question((await plane.get("/api/ps")).json()["models"]):
            await asyncio.sleep(0.02)


async def test_unloading_reaches_every_copy(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        for node in (first, second):
            async with plane.session.post(f"{node.url}/api/generate", json=CHAT) as answer:
                await answer.read()
        await plane.apply(first, second)
        assert len((await plane.get("/api/ps")).json()["models"]) == 1
        await plane.post("/api/generate", {"model": "llama3.2", "keep_alive": 0})
        for node in (first, second):
            async with plane.session.get(f"{node.url}/api/ps") as answer:
                assert (await answer.json())["models"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/me"),
        ("POST", "/api/signout"),
        ("DELETE", "/api/user/keys/abc"),
        ("POST", "/api/experimental/web_search"),
    ],
)
async def test_what_is_about_one_node_has_to_be_asked_of_it(plane, method, path) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.get(path, method)
        assert answer.status == 501
        assert answer.json()["code"] == "not_implemented"
        assert not node.requests


async def test_unknown_routes_and_methods_answer_as_ollamas_router_does(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        for path in ("/api/foo", "/api/tags2", "/debug/pprof", "/api/chat;x"):
            answer = await plane.get(path)
            assert answer.status == 404
            assert answer.text() == "404 page not found"
            assert answer.headers["Content-Type"].startswith("text/plain")
        answer = await plane.get("/api/chat")
        assert answer.status == 405
        assert answer.text() == "405 method not allowed"
        assert "POST" in answer.headers["Allow"]
        assert not node.requests


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_request"),
        (b"[]", "invalid_request"),
        (b"{", "invalid_json"),
        (b'{"model":"a","MODEL":"b"}', "duplicate_key"),
        (b'{"model":"../x"}', "invalid_model"),
        (b'{"model":""}', "invalid_model"),
        (b'{"model":' + b"[" * 100_000, "invalid_json"),
    ],
)
async def test_bad_bodies_are_refused(plane, body, code) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.post("/api/chat", body)
        assert (answer.status, answer.json()["code"]) == (400, code)
        assert not node.requests
        assert (await plane.line())["outcome"] == "rejected"


async def test_errors_speak_the_dialect_of_the_route(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        native = (await plane.post("/api/chat", b"{")).json()
        assert isinstance(native["error"], str)
        assert native["request_id"]
        openai = (await plane.post("/v1/chat/completions", b"{")).json()
        assert openai["error"]["type"] == "invalid_request_error"
        anthropic = (await plane.post("/v1/messages", b"{")).json()
        assert anthropic["type"] == "error"


async def test_once_a_key_exists_it_is_required(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=key())
        refused = await plane.chat()
        assert (refused.status, refused.json()["code"]) == (401, "missing_api_key")
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert (await plane.get("/api/tags")).status == 401
        wrong = await plane.post("/api/chat", CHAT, Authorization=f"Bearer {mint().text}")
        assert (wrong.status, wrong.json()["code"]) == (401, "invalid_api_key")
        for headers in ({"Authorization": f"Bearer {ALICE.text}"}, {"x-api-key": ALICE.text}):
            assert (await plane.post("/api/chat", CHAT, **headers)).status == 200
        assert (await plane.post(f"/k/{ALICE.text}/api/chat", CHAT)).status == 200
        in_query = await plane.post(f"/api/chat?api_key={ALICE.text}", CHAT)
        assert (in_query.status, in_query.json()["code"]) == (400, "credential_in_url")


async def test_credentials_reach_neither_the_node_nor_the_log(plane) -> None:
    """S05, S11."""
    async with FakeOllama() as node:
        await plane.apply(node, keys=key())
        await plane.post("/api/chat", CHAT, Authorization=f"Bearer {ALICE.text}", Cookie="a=b")
        await plane.post(f"/k/{ALICE.text}/api/chat", CHAT)
        await plane.post(f"/k/{ALICE.text}/api/nothing", CHAT)
        await plane.get(f"/api/tags?token={ALICE.text}")
        for seen in node.requests:
            assert ALICE.text not in repr(seen)
            assert seen.header("Authorization") is None
            assert seen.header("Cookie") is None
        written = json.dumps(plane._sink.lines)
        assert ALICE.text not in written
        assert ALICE.text.split("_")[2] not in written
        assert "Why?" not in written


async def test_allowed_models_are_judged_by_their_canonical_name(plane) -> None:
    async with FakeOllama(models=["llama3.2", "qwen3:8b"]) as node:
        allowed = ("registry.ollama.ai/library/llama3.2:*",)
        await plane.apply(node, keys=key(allowed_models=allowed))
        auth = {"x-api-key": ALICE.text}
        for name in ("llama3.2", "LLAMA3.2:latest", "registry.ollama.ai/library/llama3.2"):
            assert (await plane.post("/api/chat", {**CHAT, "model": name}, **auth)).status == 200
        refused = await plane.post("/api/chat", {**CHAT, "model": "Qwen3:8B"}, **auth)
        assert (refused.status, refused.json()["code"]) == (403, "model_not_allowed")
        tags = (await plane.get("/api/tags", **auth)).json()["models"]
        assert [model["name"] for model in tags] == ["llama3.2:latest"]


async def test_a_body_beyond_the_limit_is_refused_unread(make_plane, dial) -> None:
    plane = await make_plane(AIVONX_MAX_BODY_BYTES="2000", AIVONX_BODY_BUDGET_BYTES="3000")
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 2001\r\n\r\n")
        received = await wire.until(b"payload_too_large")
        assert wire.status == 413
        assert b"Connection: close" in received
        chunked = await dial(plane)
        chunked.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        chunked.send(b"7d1\r\n" + b" " * 2001 + b"\r\n")
        await chunked.until(b"payload_too_large")
        assert not node.requests


async def test_bodies_together_have_a_budget(make_plane, dial) -> None:
    """F37, S53."""
    plane = await make_plane(AIVONX_MAX_BODY_BYTES="2000", AIVONX_BODY_BUDGET_BYTES="3000")
    async with FakeOllama() as node:
        await plane.apply(node)
        first, second = await dial(plane), await dial(plane)
        first.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 1900\r\n\r\n{")
        await eventually_body(plane, 1_900)
        second.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 1900\r\n\r\n{")
        await second.until(b"overloaded")
        assert second.status == 503
        first.leave()
        await plane.idle()


async def eventually_body(plane, size: int) -> None:
    async with asyncio.timeout(5.0):
        while plane.app.gate.body_bytes != size:
            await asyncio.sleep(0.005)


async def test_continue_is_said_only_to_those_who_may(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=key())
        stranger = await dial(plane)
        head = "Expect: 100-continue\r\nContent-Type: application/json\r\n"
        stranger.send(
            f"POST /api/chat HTTP/1.1\r\nHost: a\r\n{head}Content-Length: 99\r\n\r\n".encode()
        )
        received = await stranger.until(b"missing_api_key")
        assert b"100 Continue" not in received
        alice = await dial(plane)
        body = json.dumps(CHAT).encode()
        alice.send(
            f"POST /api/chat HTTP/1.1\r\nHost: a\r\n{head}x-api-key: {ALICE.text}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n".encode()
        )
        assert await alice.until(b"HTTP/1.1 100 Continue\r\n\r\n")
        alice.send(body)
        assert b"HTTP/1.1 200 OK" in await alice.until(b'"done":true')


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("Expect: foo", 417),
        ("Content-Encoding: br", 415),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: ,chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
        ("Content-Length: 1\r\nContent-Length: 2", 400),
        ("X: " + "x" * 9_000, 431),
        ("\r\n".join(f"X-{index}: 1" for index in range(200)), 431),
        ("X: a\x00b", 400),
    ],
)
async def test_odd_requests_are_answered_in_our_words_and_closed(plane, dial, head, status) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.send(f"POST /api/chat HTTP/1.1\r\nHost: a\r\n{head}\r\n\r\n".encode())
        received = await wire.until(b"request_id")
        assert wire.status == status
        assert b"Connection: close" in received
        assert received.startswith(b"HTTP/1.1 ")
        assert json.loads(received.partition(b"\r\n\r\n")[2])["code"]
        assert b"Server:" not in received
        assert not node.requests


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ("GET /api/tags HTTP/2.0", 505),
        ("BREW /api/tags HTTP/1.1", 400),
        (f"GET /{'a' * 9_000} HTTP/1.1", 414),
        ("GET http://elsewhere/api/tags HTTP/1.1", 400),
        ("GET http://a/api/tags HTTP/1.1", 200),
        ("\x16\x03\x01\x02\x00", 400),
    ],
)
async def test_odd_request_lines(plane, dial, line, status) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.send(f"{line}\r\nHost: a\r\nConnection: close\r\n\r\n".encode("latin-1"))
        await wire.to_the_end()
        assert wire.status == status


async def test_a_page_of_a_strange_origin_is_refused(plane) -> None:
    """B50."""
    async with FakeOllama() as node:
        await plane.apply(node)
        refused = await plane.get("/api/tags", Origin="https://evil.example")
        assert refused.status == 403
        assert "Access-Control-Allow-Origin" not in refused.headers
        allowed = await plane.post("/api/chat", CHAT, Origin="http://localhost:3000")
        assert allowed.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
        assert node.inference[0].header("Origin") is None


async def test_a_preflight_needs_no_key(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node, keys=key())
        answer = await plane.get("/api/chat", "OPTIONS", Origin="http://localhost:3000")
        assert answer.status == 204
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]
        assert not node.requests


async def test_the_request_id_is_the_clients_if_it_is_fit(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        kept = await plane.post("/api/chat", CHAT, **{"X-Request-Id": "abc-1"})
        assert kept.headers["X-Request-Id"] == "abc-1"
        assert node.inference[0].header("X-Request-Id") == "abc-1"
        replaced = await plane.post("/api/chat", CHAT, **{"X-Request-Id": "a b" * 99})
        assert replaced.headers["X-Request-Id"].startswith("req_")


async def test_every_request_has_one_line(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()
        await plane.get("/api/tags")
        await plane.get("/nothing")
        lines = plane.lines()
        assert [line["status"] for line in lines] == [200, 200, 404]
        assert lines[0]["model"] == "llama3.2:latest"
        assert lines[0]["reason"] == "only_holder"
        assert lines[0]["ttft_s"] > 0
        assert len({line["request_id"] for line in lines}) == 3


async def test_the_strategy_of_the_snapshot_counts(plane) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second, config=ProxyConfig(strategy="lowest_latency"))
        plane.app.latencies.values.update({"n1": 0.5, "n2": 0.001})
        assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-2"
        await plane.apply(first, second)
        with plane.app.leases.take("n2", 0.0):
            assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-1"
