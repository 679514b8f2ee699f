"""The server under the path."""

import asyncio
import hashlib
import inspect
import json

import aiohttp.http_parser
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler
from fakes.ollama import FakeOllama

from data_plane.proxy import intake, server


def test_this_aiohttp_is_safe() -> None:
    """S01."""
    server.require_safe_aiohttp()


def test_an_older_aiohttp_stops_the_start(monkeypatch) -> None:
    """S01."""
    monkeypatch.setattr(server, "version", lambda _name: "3.14.2")
    with pytest.raises(RuntimeError, match=r"3\.14\.5"):
        server.require_safe_aiohttp()


def test_the_python_parser_stops_the_start(monkeypatch) -> None:
    """S01."""
    monkeypatch.setattr(
        aiohttp.http_parser, "HttpRequestParser", aiohttp.http_parser.HttpRequestParserPy
    )
    with pytest.raises(RuntimeError, match="C parser"):
        server.require_safe_aiohttp()


async def test_the_servers_own_settings(plane) -> None:
    """S08: the library's defaults let handlers of lost clients run on, and idle clients stay."""
    server_of_clients = plane.app.doors.of_clients
    assert server_of_clients.handler_cancellation is True
    settings = server_of_clients._kwargs
    assert settings["keepalive_timeout"] <= 30
    assert settings["auto_decompress"] is False
    assert settings["access_log"] is None


async def test_requests_on_one_connection_are_answered_in_order(plane, dial) -> None:
    wire = await dial(plane)
    for path in (b"one", b"two", b"three"):
        wire.send(b"GET /%b HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\n\r\n" % (path, path))
    received = await wire.until(b"X-Request-Id: three")
    assert received.index(b": one") < received.index(b": two") < received.index(b": three")
    wire.send(b"nonsense\r\n\r\n")
    assert (await wire.to_the_end()).count(b"HTTP/1.1 400") == 1


@pytest.mark.interpreted
async def test_a_body_that_stalls_is_given_up(plane, dial, monkeypatch) -> None:
    """B37, F37."""
    monkeypatch.setattr(intake, "BODY_DEADLINE_S", 0.1)
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.send(b"POST /api/chat HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc")
        await wire.until(b"request_timeout")
        assert wire.status == 408


async def test_the_parser_still_takes_a_trailer_for_a_header_of_the_next_request() -> None:
    """Why chunks end a connection (`Call.closes`). When this fails, that is no longer needed."""
    loop = asyncio.get_running_loop()
    parser = aiohttp.http_parser.HttpRequestParser(
        BaseProtocol(loop), loop, 2**16, auto_decompress=False
    )
    chunks = b"Transfer-Encoding: chunked\r\n\r\n0\r\nX-Trailer: 1\r\n\r\n"
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\n" + chunks)
    (((message, _),), _, _) = parser.feed_data(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert message.raw_headers == ((b"X-Trailer", b"1"), (b"Host", b"a"))


# Requests that come whole are served without the connection's task (ClientConnection.data_received)


def chat_request(content: str, *, length: str | None = None, headers: str = "") -> bytes:
    body = json.dumps(
        {"model": "llama3.2", "messages": [{"role": "user", "content": content}], "stream": False}
    ).encode()
    return (
        f"POST /api/chat HTTP/1.1\r\nHost: proxy\r\n{headers}"
        f"Content-Length: {length or len(body)}\r\n\r\n".encode()
        + body
    )


def contents(node: FakeOllama) -> list[str]:
    return [json.loads(seen.body)["messages"][0]["content"] for seen in node.inference]


async def test_the_same_head_serves_bodies_of_any_length(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        asked = ["a", "bb", "c" * 900, "d", "e" * 20_000, "f"]
        for number, content in enumerate(asked, 1):
            wire.send(chat_request(content, headers=f"X-Request-Id: id-{number // 3}\r\n"))
            await plane.until(lambda number=number: len(plane.lines()) == number)
        await wire.until(b"X-Request-Id: id-2")
        assert contents(node) == asked
        ids = [line["request_id"] for line in plane.lines()]
        assert ids == ["id-0", "id-0", "id-1", "id-1", "id-1", "id-2"]


@pytest.mark.parametrize("length", ["+90", "0x5a", "9_0", "90,90", "-1", "1" * 30])
async def test_a_known_head_with_a_length_that_is_none_is_refused(plane, dial, length) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        wire.send(chat_request("first"))
        await wire.until(b'"done":true')
        wire.send(chat_request("second", length=length))
        received = await wire.to_the_end()
        assert b"HTTP/1.1 400" in received or b"HTTP/1.1 413" in received
        assert contents(node) == ["first"]


async def test_a_body_in_pieces_and_a_whole_one_take_turns(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        asked = []
        for turn in range(6):
            asked.append(f"turn {turn} " + "x" * 500 * (turn % 3))
            data = chat_request(asked[-1])
            cut = (0, len(data) - 40, 30)[turn % 3]
            wire.send(data[:cut])
            await asyncio.sleep(0.02)  # so that the pieces do not travel together
            wire.send(data[cut:])
            await plane.until(lambda turn=turn: len(plane.lines()) == turn + 1)
        assert contents(node) == asked


class Client(asyncio.Transport):
    """The transport of a client, so that a test decides what comes within one turn of the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.received = b""
        self.is_closed = False

    def write(self, data) -> None:
        self.received += data

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True

    def pause_reading(self) -> None: ...
    def resume_reading(self) -> None: ...


async def test_a_first_request_that_comes_sooner_than_the_tasks_first_turn(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        connection, client = server.Server(plane.app.handler)(), Client()
        connection.connection_made(client)
        data = chat_request("x" * 5_000)
        connection.data_received(data[:1_000])
        connection.data_received(data[1_000:])
        await plane.until(lambda: client.received.count(b'"done":true') == 1)
        connection.data_received(data)
        await plane.until(lambda: client.received.count(b'"done":true') == 2)
        assert not client.is_closed
        connection.connection_lost(None)
        await asyncio.sleep(0)


@pytest.mark.parametrize("length", range(1, 5))
async def test_the_first_bytes_of_a_head_are_not_forgotten(plane, length) -> None:
    """A method in pieces, then a head that is known: `POSPOST` is no method."""
    async with FakeOllama() as node:
        await plane.apply(node)
        connection, client = server.Server(plane.app.handler)(), Client()
        connection.connection_made(client)
        data = chat_request("x")
        for count in (1, 2):
            connection.data_received(data)
            await plane.until(lambda count=count: client.received.count(b'"done":true') == count)
        connection.data_received(b"POST"[:length])
        connection.data_received(data)
        await plane.until(lambda: b"HTTP/1.1 400" in client.received)
        assert len(node.inference) == 2
        connection.connection_lost(None)
        await asyncio.sleep(0)


async def test_what_is_sent_behind_a_request_waits_for_its_answer(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()  # a connection to the node stands
        node.fault("delay", path="/api/chat", seconds=0.2, times=1)
        wire = await dial(plane)
        wire.send(chat_request("one", headers="X-Request-Id: id-1\r\n"))
        await plane.until(lambda: plane.app.gate.in_flight)
        wire.send(chat_request("two", headers="X-Request-Id: id-2\r\n")[:40])
        await asyncio.sleep(0.05)
        wire.send(chat_request("two", headers="X-Request-Id: id-2\r\n")[40:])
        wire.send(b"GET /api/version HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-3\r\n\r\n")
        received = await wire.until(b"X-Request-Id: id-3")
        places = [received.index(b"X-Request-Id: id-%d" % number) for number in (1, 2, 3)]
        assert places == sorted(places)
        assert contents(node)[1:] == ["one", "two"]


async def test_sound_requests_before_a_malformed_one_have_their_answers(plane, dial) -> None:
    """B27: they came together, in one write."""
    async with FakeOllama() as node:
        await plane.apply(node)
        wire = await dial(plane)
        version = b"GET /api/version HTTP/1.1\r\nHost: a\r\nX-Request-Id: id-1\r\n\r\n"
        second = chat_request("two", headers="X-Request-Id: id-2\r\n")
        wire.send(version + second + b"G\0T / HTTP/1.1\r\nHost: a\r\n\r\n")
        received = await wire.until(b"HTTP/1.1 400")
        places = [received.index(b"X-Request-Id: id-%d" % number) for number in (1, 2)]
        assert places == sorted(places)
        assert received.count(b"HTTP/1.1 200") == 2
        assert contents(node) == ["two"]


async def test_a_silent_node_does_not_make_a_connection_idle(make_plane, dial, monkeypatch) -> None:
    """The time for the next request runs between requests only."""
    monkeypatch.setattr(server, "KEEPALIVE_TIMEOUT_S", 0.1)
    plane = await make_plane()
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()
        node.fault("delay", path="/api/chat", seconds=0.5, times=1)
        wire = await dial(plane)
        wire.send(chat_request("one"))
        received = await wire.to_the_end()
        assert wire.status == 200
        assert b'"done":true' in received


async def test_closing_is_for_after_the_answer(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()
        wire = await dial(plane)
        wire.send(chat_request("one", headers="Connection: close\r\n"))
        received = await wire.to_the_end()
        assert received.count(b"HTTP/1.1 200") == 1
        assert b'"done":true' in received


@pytest.mark.parametrize("kind", ["reset", "busy", "runner_died", "garbage"])
async def test_what_fails_without_the_task_goes_on_in_it(plane, dial, kind) -> None:
    async with FakeOllama() as first, FakeOllama() as second:
        await plane.apply(first, second)
        await asyncio.gather(*(plane.chat() for _ in range(8)))  # connections to both stand
        first.fault(kind, path="/api/chat", times=1, after=0)
        second.fault(kind, path="/api/chat", times=1, after=0)
        wire = await dial(plane)
        wire.send(chat_request("one"))
        await wire.until(b"\r\n\r\n")
        assert plane.lines()[-1]["attempts"] == 2
        wire.send(chat_request("two"))
        await wire.until(b'"done":true')


async def test_a_client_that_leaves_in_the_middle_lets_go_of_the_node(plane, dial) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        await plane.chat()
        node.fault("silence", path="/api/chat")
        for abruptly in (True, False):
            wire = await dial(plane)
            wire.send(chat_request("one"))
            await plane.until(lambda: len(plane.app.leases))
            wire.leave(abruptly=abruptly)
            await plane.idle()
            assert plane.lines()[-1]["outcome"] == "client_abort"


RELIED_ON = {
    # What we replace: read how it changed, and change ours (proxy/server.py) with it.
    "RequestHandler.start": "2e565fd40c8e04fb",
    # What we call or rely on: see that it still means the same.
    "RequestHandler.close": "84518f965e198ee3",
    "RequestHandler.connection_lost": "df2fe6e95fd04c7c",
    "RequestHandler.connection_made": "44d50b5763b2c7e4",
    "RequestHandler.data_received": "1ee57ebe052e6c80",
    "RequestHandler.force_close": "38d0e1e798e4d3b7",
    "RequestHandler.shutdown": "5eb4bd473db61e84",
    "RequestHandler._process_keepalive": "b472e0fb8445ce42",
    "RequestHandler._resume_reading_if_drained": "27f2a6fbbb3a790e",
    "BaseProtocol._drain_helper": "43a2da08aabcc94f",
    "BaseProtocol.pause_writing": "e727e6c57a46116e",
    "BaseProtocol.resume_writing": "7db135e0841e0425",
}


@pytest.mark.parametrize("name", RELIED_ON)
def test_what_we_use_of_aiohttps_inside_is_as_we_know_it(name) -> None:
    owner, _, method = name.partition(".")
    found = getattr({"RequestHandler": RequestHandler, "BaseProtocol": BaseProtocol}[owner], method)
    digest = hashlib.sha256(inspect.getsource(found).encode()).hexdigest()[:16]
    assert digest == RELIED_ON[name], (
        f"aiohttp {aiohttp.__version__} has changed {name}, which data_plane/proxy/server.py relies"
        f" on. Compare it with that of 3.14.5, adapt server.py, then write {digest} here."
    )
