"""Every fault of the fake does on the wire what its name says."""

import asyncio
import json

import aiohttp
import pytest
from fakes.faults import LONG_LINE_BYTES
from fakes.ollama import FakeOllama
from fakes.rawclient import RawClient

ASK = {"model": "llama3.2", "messages": [{"role": "user", "content": "9 words"}]}
END = b"0\r\n\r\n"


async def wire(node: FakeOllama, ask: object = ASK, path: str = "/api/chat") -> bytes:
    """All the bytes of one answer; a RST raises."""
    async with RawClient.to(node.url) as raw:
        await raw.post(path, ask, "Connection: close")
        return await raw.read_all()


async def test_a_refusing_node_comes_back_on_its_port(node, http):
    port = node.port
    await node.refuse()
    with pytest.raises(aiohttp.ClientConnectorError):
        await http.get(node.url)
    await node.accept()
    assert node.port == port
    async with http.get(node.url) as answer:
        assert answer.status == 200


async def test_silence_lasts_until_it_is_cleared(node):
    node.fault("silence")
    async with RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        with pytest.raises(TimeoutError):
            await raw.read_until(b"\r\n", 0.2)
        assert node.active == 1
        node.clear_faults()
        assert (await raw.read_until(b"\r\n")).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize("after", [None, 0, 3])
async def test_a_reset_comes_before_the_head_or_after_so_many_records(node, after):
    node.fault("reset", after=after)
    async with RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        if after is not None:
            assert (await raw.read_until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        for _ in range(after or 0):
            assert b'"done":false' in await raw.read_until(b"}\n")
        with pytest.raises(ConnectionResetError):
            await raw.read_all()
    assert node.active == 0


@pytest.mark.parametrize("after", [None, 3])
async def test_a_close_ends_without_the_final_chunk(node, after):
    node.fault("close", after=after)
    got = await wire(node)
    assert got.count(b'"done":false') == (after or 0)
    assert not got.endswith(END)


async def test_an_answer_that_does_not_stream_breaks_in_its_body(node):
    node.fault("close", after=3)
    got = await wire(node, ASK | {"stream": False})
    head, _, body = got.partition(b"\r\n\r\n")
    announced = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    assert 0 < len(body) < announced


async def test_a_stall_keeps_the_connection(node):
    node.fault("stall", after=2)
    async with RawClient.to(node.url) as raw:
        await raw.post("/api/chat", ASK)
        await raw.read_until(b"word2")
        with pytest.raises(TimeoutError):
            await raw.read_until(b"word3", 0.2)
        node.clear_faults()
        assert (await raw.read_until(END)).endswith(END)


async def test_a_bad_chunk_is_no_number(node):
    node.fault("bad_chunk", after=1)
    assert b"zz\r\nnot a chunk" in await wire(node)


async def test_a_cut_short_answer_has_no_framing(node):
    node.fault("cut_short", after=2)
    got = await wire(node)
    assert b"Content-Length" not in got
    assert b"chunked" not in got
    assert got.count(b"\n{") == 2
    assert b'"done":true' not in got


async def test_garbage_is_no_status_line(node, http):
    node.fault("garbage")
    assert not (await wire(node)).startswith(b"HTTP/")


@pytest.mark.parametrize(
    ("kind", "status", "text"),
    [
        ("runner_died", 500, "llama runner process has terminated: exit status 2"),
        ("busy", 503, "server busy, please try again.  maximum pending requests exceeded"),
        ("missing", 404, "model 'llama3.2' not found"),
        (
            "load_fails",
            500,
            "llama-server process has terminated: cudaMalloc failed: out of memory",
        ),
    ],
)
async def test_an_error_before_the_head_has_its_status_and_dialect(node, http, kind, status, text):
    node.fault(kind)
    for path, reach in (
        ("/api/chat", lambda body: body["error"]),
        ("/v1/chat/completions", lambda body: body["error"]["message"]),
        ("/v1/messages", lambda body: body["error"]["message"]),
    ):
        async with http.post(node.url + path, json=ASK | {"max_tokens": 9}) as answer:
            assert (answer.status, reach(await answer.json())) == (status, text)


async def test_a_status_and_a_redirect_are_what_was_asked_for(node, http):
    node.fault("status", status=429, text="slow down", times=1)
    node.fault("redirect", text="http://169.254.169.254/")
    async with http.post(f"{node.url}/api/chat", json=ASK) as answer:
        assert (answer.status, await answer.json()) == (429, {"error": "slow down"})
    ask = http.post(f"{node.url}/api/chat", json=ASK, allow_redirects=False)
    async with ask as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "http://169.254.169.254/")


async def test_an_error_midway_is_a_record_natively_and_lost_elsewhere(node):
    node.fault("error_record", after=2, text="runner gone")
    native = await wire(node)
    assert b'{"error":"runner gone"}\n' in native
    assert native.endswith(END), "the end is clean"
    chat = await wire(node, ASK | {"stream": True}, "/v1/chat/completions")
    assert b'"model":""' in chat
    assert b"runner gone" not in chat
    assert b"[DONE]" not in chat
    for path in ("/v1/messages", "/v1/responses"):
        ask = ASK | {"stream": True, "max_tokens": 9, "input": "9 words"}
        got = await wire(node, ask, path)
        assert got.endswith(END)
        assert b"message_stop" not in got
        assert b"response.completed" not in got


async def test_an_error_midway_of_one_object_is_a_500(node, http):
    node.fault("error_record", text="runner gone")
    async with http.post(f"{node.url}/api/chat", json=ASK | {"stream": False}) as answer:
        assert (answer.status, await answer.json()) == (500, {"error": "runner gone"})


async def test_the_repeat_guard_ends_cleanly_and_unfinished(node, http):
    node.fault("no_done", after=2)
    got = await wire(node)
    assert got.endswith(END)
    assert b'"done":true' not in got
    async with http.post(f"{node.url}/api/chat", json=ASK | {"stream": False}) as answer:
        assert (await answer.json())["done"] is False


@pytest.mark.parametrize("stream", [True, False])
async def test_gzip_comes_though_nobody_asked(node, stream):
    node.fault("gzip")
    async with (
        aiohttp.ClientSession(headers={"Accept-Encoding": "identity"}) as http,
        http.post(f"{node.url}/api/chat", json=ASK | {"stream": stream}) as answer,
    ):
        assert answer.headers["Content-Encoding"] == "gzip"
        assert '"done":true' in await answer.text(), "valid once unpacked"


async def test_extra_bytes_follow_the_end(node):
    node.fault("extra_bytes")
    got = await wire(node, ASK | {"stream": False})
    assert got.endswith(b"extra bytes that no head announced\r\n")


@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_a_line_of_ten_megabytes_is_valid(node, http, path):
    node.fault("long_line", after=1)
    async with http.post(node.url + path, json=ASK | {"stream": True}) as answer:
        lines = (await answer.read()).splitlines()
    longest = max(lines, key=len)
    assert len(longest) > LONG_LINE_BYTES
    assert json.loads(longest.removeprefix(b"data: "))["padding"]


async def test_a_fault_strikes_its_path_its_model_and_so_often(node, http):
    fault = node.fault("busy", path="/api/chat", model="LLAMA3.2:latest", times=2)

    async def status(path: str, model: str) -> int:
        ask = ASK | {"model": model, "prompt": "x"}
        async with http.post(node.url + path, json=ask) as answer:
            await answer.read()
            return answer.status

    assert await status("/api/generate", "llama3.2") == 200
    assert await status("/api/chat", "qwen3:8b") == 200
    assert [await status("/api/chat", "llama3.2") for _ in range(3)] == [503, 503, 200]
    assert fault.hits == 2


async def test_a_delay_is_that_long(node, http):
    node.fault("delay", seconds=0.2)
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with http.get(f"{node.url}/api/version") as answer:
        assert answer.status == 200
    assert loop.time() - began >= 0.2
