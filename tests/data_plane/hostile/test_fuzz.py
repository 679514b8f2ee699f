"""Thousands of spoilt requests: whatever comes in, the answers are ours and the nodes get sense.

Every other one comes behind an ordinary request on the same connection, with its head known and in
two pieces, so that the callbacks serve it that serve nearly everything (`server.KnownHead`).

    FUZZ_CASES=4711 .venv/bin/python -m pytest tests/data_plane/hostile/test_fuzz.py    # one again
    FUZZ_CASES=0-100000 .venv/bin/python -m pytest --timeout 3600 …                     # a night's

What this finds becomes a row of a `.toml` beside it, so that it is tried again for ever.
"""

import asyncio
import json
import os
import random
import re
import resource
import tomllib
from pathlib import Path
from typing import Any, Final, NamedTuple

import pytest
from fakes.ollama import FakeOllama

from data_plane.protocol.routes import ROUTES
from data_plane.proxy import answers
from shared.snapshot import ProxyConfig

FIRST, _, END = os.environ.get("FUZZ_CASES", "0-5000").partition("-")
HERE: Final = "tests/data_plane/hostile"
CASES: Final = range(int(FIRST), int(END or int(FIRST) + 1))
BATCH: Final = 250
SEED: Final = 20_261_123
AT_ONCE: Final = 16
PATIENCE_S: Final = 0.05
"""For an answer. Many a spoilt request is merely incomplete, and the server waits for the rest."""

ANSWER_S: Final = 30.0
"""For a request with nothing wrong in it."""

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
ORDINARY: Final = next(each for each in SEEDS if b'"stream":false' in each)
WHOLE: Final = b'"done":true'
ENDS: Final = (b"}", b"0\r\n\r\n")
UNHURRIED: Final = ProxyConfig(probe_interval_s=1.0, probe_timeout_s=5.0, fall=20)
"""A busy machine must not look like a dead node."""

_STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+\r\n")


class Case(NamedTuple):
    """What one client sends: after the answer to `before`, `request` in two pieces."""

    number: int
    before: bytes
    request: bytes
    cut: int


def case(number: int) -> Case:
    """The same every time."""
    dice = random.Random(f"{SEED}-{number}")  # noqa: S311 - a test's, no secret
    if number % 2:
        return Case(number, b"", spoilt(dice, dice.choice(SEEDS)), 0)
    request = spoilt(dice, ORDINARY)
    if dice.random() < 0.5:
        request = ORDINARY + request + ORDINARY
    return Case(number, ORDINARY, request, dice.randrange(len(request) + 1))


def spoilt(dice: random.Random, seed: bytes) -> bytes:
    """A sound request with something wrong in it; half of the bodies arrive whole."""
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


async def answer_to(port: int, sent: Case) -> bytes:
    """All that comes back within a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        if sent.before:
            writer.write(sent.before)
            async with asyncio.timeout(ANSWER_S):
                received = await reader.readuntil(WHOLE)
        writer.write(sent.request[: sent.cut])
        await asyncio.sleep(0)  # to the server's turn
        writer.write(sent.request[sent.cut :])
        async with asyncio.timeout(PATIENCE_S):
            while chunk := await reader.read(65_536):
                received += chunk
    except (TimeoutError, ConnectionResetError):
        pass  # it waits for the rest, or has cut a stream off: both are allowed
    finally:
        writer.transport.abort()
    return received


def check_answer(sent: Case, received: bytes) -> None:
    request = sent.request
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


def replay(cases: range) -> str:
    """How to see a failure again."""
    chosen = f"{cases.start}-{cases.stop}" if len(cases) > 1 else f"{cases.start}"
    return f"again: FUZZ_CASES={chosen} .venv/bin/python -m pytest {HERE}/test_fuzz.py"


async def one(plane: Any, turns: asyncio.Semaphore, number: int) -> None:
    async with turns:
        try:
            sent = case(number)
            check_answer(sent, await answer_to(plane.port, sent))
        except Exception as error:
            error.add_note(replay(range(number, number + 1)))
            raise


async def batch(plane: Any, node: FakeOllama, turns: asyncio.Semaphore, cases: range) -> int:
    """Send these; how many requests the node got of it."""
    await asyncio.gather(*(one(plane, turns, number) for number in cases))
    await plane.idle()
    try:
        for request in node.requests:
            check_node(request)
    except Exception as error:
        error.add_note(replay(cases))
        raise
    arrived = len(node.requests)
    node.requests.clear()
    return arrived


@pytest.mark.timeout(300)
async def test_no_spoilt_request_does_harm(make_plane: Any) -> None:
    """S59. B76."""
    plane = await make_plane()
    async with FakeOllama(["llama3.2"], num_parallel=AT_ONCE) as node:
        await plane.apply(node, config=UNHURRIED)
        turns = asyncio.Semaphore(AT_ONCE)
        arrived, warm = 0, 0
        for start in range(CASES.start, CASES.stop, BATCH):
            cases = range(start, min(start + BATCH, CASES.stop))
            arrived += await batch(plane, node, turns, cases)
            warm = warm or peak_kib()
        assert arrived >= len(CASES) // 4, "hardly anything got through: the mutations are too wild"
        assert peak_kib() - warm < GROWTH_KIB
        assert (await plane.chat()).status == 200


def peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def sound(start: bytes) -> bytes:
    """The first sound request that begins so."""
    return next(each for each in SEEDS if each.startswith(start))


PIPELINES: Final = {
    "known heads": [ORDINARY, ORDINARY],
    "another length": [ORDINARY, ORDINARY.replace(b"48", b"49").replace(b":false", b": false")],
    "answered from memory, then by a node": [
        sound(b"GET /api/version"),
        ORDINARY,
        sound(b"GET /api/tags"),
    ],
    "a stream, then a known head": [sound(b"POST /api/generate"), ORDINARY],
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", PIPELINES)
async def test_the_same_requests_are_read_wherever_the_bytes_are_cut(
    name: str, make_plane: Any
) -> None:
    """B76: two pieces, at every boundary, on a connection that knows the head already."""
    plane = await make_plane()
    requests = PIPELINES[name]
    stream = b"".join(requests)
    async with FakeOllama(["llama3.2"], num_parallel=AT_ONCE) as node:
        await plane.apply(node, config=UNHURRIED)
        turns = asyncio.Semaphore(AT_ONCE)

        async def cut(at: int) -> None:
            async with turns:
                received = await pipelined(plane.port, stream[:at], stream[at:], len(requests))
                assert len(received) == len(requests), (at, received)
                assert set(received) == {200}, (at, received)

        cuts = range(len(stream) + 1)
        await asyncio.gather(*map(cut, cuts))
        await plane.idle()
        posts = [request.partition(b"\r\n\r\n")[2] for request in requests if b"POST" in request]
        arrived = sorted(request.body for request in node.requests if request.body)
        expected = sorted([*posts, ORDINARY.partition(b"\r\n\r\n")[2]] * len(cuts))
        assert [json.loads(body) for body in arrived] == [json.loads(body) for body in expected]


async def pipelined(port: int, first: bytes, second: bytes, count: int) -> list[int]:
    """The statuses of `count` requests that come in two pieces behind an ordinary one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    received = b""
    try:
        async with asyncio.timeout(ANSWER_S):
            writer.write(ORDINARY)
            await reader.readuntil(WHOLE)
            await reader.readuntil(b"}")
            writer.write(first)
            await asyncio.sleep(0.002)  # a turn of its own for the server; if not, as well
            writer.write(second)
            while len(_STATUS_LINE.findall(received)) < count or not received.endswith(ENDS):
                chunk = await reader.read(65_536)
                assert chunk, received
                received += chunk
    finally:
        writer.transport.abort()
    return [int(status) for status in _STATUS_LINE.findall(received)]
