"""Bodies that are too large to hold: on disk while they arrive, sent as often as it takes."""

import asyncio
import contextlib
import io
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from fakes.ollama import FakeOllama
from fakes.scripted import (
    Asked,
    ScriptedNode,
    Step,
    in_turn,
    read,
    read_body,
    reset,
    stall,
    whole,
)

from data_plane.proxy import intake
from data_plane.settings import HELD_BODY_BYTES
from data_plane.upstream import connection as connections

SIZE = HELD_BODY_BYTES + 1_000_000
ANSWER = b'{"message":{"content":"a"},"done":true}\n'
HEARD = (read_body, whole(ANSWER))
BROKEN_OFF = (read(SIZE // 2), reset)
REFUSED = (read(100_000), whole(b'{"error":"too many images"}', "400 Bad Request"))
ASLEEP = (stall,)


def large(**fields: object) -> bytes:
    """A chat whose image makes it large, written as nobody but its author would."""
    messages = [{"role": "user", "content": "Why?", "images": ["QUJD" * (SIZE // 4)]}]
    return json.dumps(
        {"MODEL": "llama3.2", "messages": messages, "stream": False, **fields}
    ).encode()


@asynccontextmanager
async def nodes(plane, *scripts: Sequence[Step]) -> AsyncIterator[Callable[[], list[bytes]]]:
    """Two nodes that answer by these scripts, in turn; gives the bodies that were heard whole."""
    script = in_turn(*scripts)
    async with (
        ScriptedNode(script, reads_body=False) as one,
        ScriptedNode(script, reads_body=False) as other,
    ):
        await plane.apply(one, other)
        yield lambda: [
            each.body for each in (*one.asked, *other.asked) if len(each.body) == each.length
        ]


def spools() -> list[str]:
    """Nameless files that are open."""
    links = []
    for each in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(str(each.readlink()))
    return [link for link in links if "data_plane/" in link and link.endswith("(deleted)")]


async def chunked(data: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(data), 100_000):
        yield data[start : start + 100_000]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_large_body_arrives_put_together_anew(plane, is_chunked) -> None:
    body = large()
    async with nodes(plane, HEARD) as heard:
        data = chunked(body) if is_chunked else io.BytesIO(body)
        async with plane.session.post(plane.url("/api/chat"), data=data) as answer:
            assert answer.status == 200
            assert await answer.read() == ANSWER
    (sent,) = heard()
    assert sent.startswith(b'{"model":"llama3.2","messages":[{')
    assert json.loads(sent) == {"model": "llama3.2", **_without_model(body)}
    assert (await plane.line())["bytes_in"] == len(body)
    await plane.idle()
    assert not spools()
    assert not plane.app.gate.spool_bytes


def _without_model(body: bytes) -> dict[str, object]:
    return {key: value for key, value in json.loads(body).items() if key != "MODEL"}


async def test_while_it_is_sent_it_lies_on_disk_and_not_in_memory(plane) -> None:
    async with nodes(plane, ASLEEP):
        asking = asyncio.ensure_future(plane.post("/api/chat", large()))
        async with asyncio.timeout(5.0):
            while not len(plane.app.leases):
                await asyncio.sleep(0.005)
        assert len(spools()) == 1
        assert (plane.app.gate.body_bytes, plane.app.gate.spool_bytes) == (0, len(large()))
        asking.cancel()
        await plane.idle()
        async with asyncio.timeout(5.0):
            while spools():
                await asyncio.sleep(0.005)


async def test_another_node_gets_all_of_it_when_the_first_breaks_off(plane) -> None:
    async with nodes(plane, BROKEN_OFF, HEARD) as heard:
        answer = await plane.post("/api/chat", large())
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")
    assert len(heard()) == 1
    assert json.loads(heard()[0])["messages"] == json.loads(large())["messages"]


async def test_a_node_that_reads_no_further_is_left_for_another(plane, monkeypatch) -> None:
    monkeypatch.setattr(connections, "SEND_STALL_S", 0.1)
    async with nodes(plane, ASLEEP, HEARD):
        answer = await plane.post("/api/chat", large(padding="x" * 6_000_000))
        assert (answer.status, answer.headers["X-Aivonx-Attempts"]) == (200, "2")


async def test_a_refusal_before_all_of_it_is_sent_is_relayed(plane) -> None:
    async with nodes(plane, REFUSED):
        answer = await plane.post("/api/chat", large(padding="x" * 6_000_000))
        assert (answer.status, answer.json()["error"]) == (400, "too many images")


@pytest.mark.parametrize("when", [100, HELD_BODY_BYTES, SIZE])
@pytest.mark.parametrize("abruptly", [True, False])
async def test_a_client_that_leaves_on_the_way_leaves_nothing(plane, dial, when, abruptly) -> None:
    async with nodes(plane, HEARD) as heard:
        wire = await dial(plane)
        body = large()
        wire.send(
            b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % (len(body) + 1)
        )
        wire.send(body[:when])
        async with asyncio.timeout(5.0):
            while not plane.app.gate.spool_bytes:
                await asyncio.sleep(0.005)
        wire.leave(abruptly=abruptly)
        await plane.idle()
        async with asyncio.timeout(5.0):
            while spools():
                await asyncio.sleep(0.005)
        assert (await plane.line())["outcome"] == "client_abort"
        assert not heard()


@pytest.mark.interpreted
async def test_a_client_that_stops_sending_is_told_so(plane, dial, monkeypatch) -> None:
    monkeypatch.setattr(intake, "BODY_DEADLINE_S", 0.1)
    monkeypatch.setattr(intake, "BODY_DEADLINE_PER_BYTE_S", 0.0)
    wire = await dial(plane)
    async with FakeOllama() as node:
        await plane.apply(node)
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n{" % SIZE)
        await wire.until(b"request_timeout")
        assert wire.status == 408
    await plane.idle()
    assert not spools()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (large(model="other"), "duplicate_key"),
        (large()[:-1], "invalid_json"),
        (large() + b"{}", "invalid_json"),
        (b"[" + large() + b"]", "invalid_request"),
        (b" " * SIZE, "invalid_json"),
        (large(stream="yes"), "invalid_request"),
    ],
)
async def test_a_large_body_that_is_no_good_reaches_no_node(plane, body, code) -> None:
    async with nodes(plane, HEARD) as heard:
        answer = await plane.post("/api/chat", body)
        assert (answer.status, answer.json()["code"]) == (400, code)
    assert not heard()
    assert not spools()


async def test_white_space_does_not_make_a_body_large(plane) -> None:
    async with nodes(plane, HEARD) as heard:
        body = b'{"model":' + b" " * SIZE + b'"llama3.2","messages":[{}],"stream":false}'
        assert (await plane.post("/api/chat", body)).status == 200
    assert heard() == [b'{"model":"llama3.2","messages":[{}],"stream":false}']


async def test_bodies_on_disk_have_a_budget(make_plane) -> None:
    plane = await make_plane(AIVONX_SPOOL_BUDGET_BYTES=str(SIZE - 100_000))
    async with nodes(plane, HEARD):
        for data in (io.BytesIO(large()), chunked(large())):
            async with plane.session.post(plane.url("/api/chat"), data=data) as answer:
                assert answer.status == 503
                assert "too many large requests" in await answer.text()


async def test_a_disk_that_takes_nothing_is_said(plane) -> None:
    async with nodes(plane, HEARD):
        plane.app.gate.spool_dir = Path("/proc/nowhere")
        answer = await plane.post("/api/chat", large())
        assert (answer.status, answer.json()["code"]) == (503, "overloaded")
        assert "spool" in (await plane.line())["detail"]


async def test_a_body_beyond_100_mib_passes_where_it_is_allowed(make_plane) -> None:
    plane = await make_plane(AIVONX_MAX_BODY_BYTES=str(200 * 1024 * 1024))

    async def swallow(asked: Asked) -> None:
        assert asked.length > 100 * 1024 * 1024
        left = asked.length
        while left > 0:
            left -= len(await asked.reader.read(left))

    async def growing() -> AsyncIterator[bytes]:
        yield b'{"model":"llama3.2","stream":false,"messages":[{"content":"'
        for _ in range(101):
            yield b"x" * (1024 * 1024)
        yield b'"}]}'

    async with (
        nodes(plane, (swallow, whole(ANSWER))),
        plane.session.post(plane.url("/api/chat"), data=growing()) as answer,
    ):
        assert answer.status == 200
