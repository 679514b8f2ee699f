"""The server under the path."""

import asyncio
import hashlib
import inspect

import aiohttp.http_parser
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.web_protocol import RequestHandler
from fakes.ollama import FakeOllama

from data_plane.proxy import intake, server


def test_this_aiohttp_is_safe() -> None:
    server.require_safe_aiohttp()


def test_an_older_aiohttp_stops_the_start(monkeypatch) -> None:
    monkeypatch.setattr(server, "version", lambda _name: "3.14.2")
    with pytest.raises(RuntimeError, match=r"3\.14\.5"):
        server.require_safe_aiohttp()


def test_the_python_parser_stops_the_start(monkeypatch) -> None:
    monkeypatch.setattr(
        aiohttp.http_parser, "HttpRequestParser", aiohttp.http_parser.HttpRequestParserPy
    )
    with pytest.raises(RuntimeError, match="C parser"):
        server.require_safe_aiohttp()


async def test_requests_on_one_connection_are_answered_in_order(plane, dial) -> None:
    wire = await dial(plane)
    for path in (b"one", b"two", b"three"):
        wire.send(b"GET /%b HTTP/1.1\r\nHost: a\r\nX-Request-Id: %b\r\n\r\n" % (path, path))
    received = await wire.until(b"X-Request-Id: three")
    assert received.index(b": one") < received.index(b": two") < received.index(b": three")
    wire.send(b"nonsense\r\n\r\n")
    assert (await wire.to_the_end()).count(b"HTTP/1.1 400") == 1


async def test_a_body_that_stalls_is_given_up(plane, dial, monkeypatch) -> None:
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
