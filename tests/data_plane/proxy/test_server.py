"""The server under the path."""

import aiohttp.http_parser
import pytest
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
