"""Thousands of spoilt requests: whatever comes in, the answers are ours and the nodes get sense.

What this finds becomes a row of a `.toml` beside it, so that it is tried again for ever.
"""

import asyncio
import json
import random
import re
import resource
import tomllib
from pathlib import Path
from typing import Any, Final

from fakes.ollama import FakeOllama

from data_plane.protocol.routes import ROUTES
from data_plane.proxy import answers

CASES: Final = 5_000
SEED: Final = 20_261_123
AT_ONCE: Final = 16
PATIENCE_S: Final = 0.05
"""For an answer. Many a spoilt request is merely incomplete, and the server waits for the rest."""

GROWTH_KIB: Final = 64 * 1024
STATUSES: Final = {200, 204, *answers.STATUSES.values()}
DATA: Final = tomllib.loads((Path(__file__).parent / "seeds.toml").read_text(encoding="utf-8"))
SEEDS: Final = [each.encode("latin-1") for each in DATA["requests"]]
WORDS: Final = [each.encode("latin-1") for each in DATA["words"]]
PATHS: Final = {f"{route.method} {route.path}" for route in ROUTES}
HEADERS: Final = {
    *("host", "accept", "accept-language", "anthropic-beta", "anthropic-version", "traceparent"),
    *("tracestate", "user-agent", "content-type", "accept-encoding", "x-forwarded-for"),
    *("x-forwarded-proto", "x-forwarded-host", "x-request-id", "content-length", "connection"),
}
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n")


def spoilt(dice: random.Random) -> bytes:
    """A sound request with something wrong in it; half of the bodies arrive whole."""
    seed = dice.choice(SEEDS)
    head, _, body = seed.partition(b"\r\n\r\n")
    if not body or dice.random() < 0.5:
        return mutated(dice, seed)
    body = mutated(dice, body)
    head = re.sub(rb"Content-Length: \d+", b"Content-Length: %d" % len(body), head)
    return head + b"\r\n\r\n" + body


def mutated(dice: random.Random, sound: bytes) -> bytes:
    data = bytearray(sound)
    for _ in range(dice.choice((1, 1, 1, 2, 4))):
        at = dice.randrange(len(data) + 1)
        end = min(at + dice.randint(1, 20), len(data))
        match dice.randrange(6):
            case 0 if data:
                data[at % len(data)] = dice.randrange(256)
            case 1:
                del data[at:end]
            case 2:
                data[at:at] = data[at:end]
            case 3:
                data[at:at] = dice.choice(WORDS)
            case 4:
                data[at:end] = dice.choice(WORDS)
            case _:
                data[at:] = dice.choice(SEEDS)[-(len(data) - at) or None :]
    return bytes(data)


async def answer_to(port: int, request: bytes) -> bytes:
    """All that comes back within a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        writer.write(request)
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await reader.read(65_536):
                received += chunk
    except (TimeoutError, ConnectionResetError):
        pass  # it waits for the rest, or has cut a stream off: both are allowed
    finally:
        writer.transport.abort()
    return received


def check_answer(request: bytes, received: bytes) -> None:
    if received:
        assert received.startswith((b"HTTP/1.1 ",)), (request, received)
    for status in _STATUS_LINE.findall(received):
        assert int(status) in STATUSES | {100}, (request, received)
    for word in (b"Traceback", b"aiohttp", b"Python/"):
        assert word not in received, (request, received)


def check_node(request: Any) -> None:
    assert f"{request.method} {request.path}" in PATHS, request
    names = {name.lower() for name, _ in request.headers}
    assert names <= HEADERS, names - HEADERS
    if request.method == "POST":
        body = json.loads(request.body)
        assert [key for key in body if key.casefold() == "model"] == ["model"]
        assert body["model"].strip().lower().startswith("llama3.2"), request


async def test_no_spoilt_request_does_harm(make_plane: Any) -> None:
    """S59. B76."""
    dice = random.Random(SEED)  # noqa: S311 - the same cases every time
    cases = [spoilt(dice) for _ in range(CASES)]
    plane = await make_plane()
    async with FakeOllama(["llama3.2"], num_parallel=AT_ONCE) as node:
        await plane.apply(node)
        turns = asyncio.Semaphore(AT_ONCE)

        async def one(request: bytes) -> None:
            async with turns:
                check_answer(request, await answer_to(plane.port, request))

        await asyncio.gather(*map(one, cases[:500]))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await asyncio.gather(*map(one, cases[500:]))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert len(node.requests) > 100, "hardly anything got through: the mutations are too wild"
        for request in node.requests:
            check_node(request)
        assert grown < GROWTH_KIB
        await plane.idle()
        assert (await plane.chat()).status == 200
