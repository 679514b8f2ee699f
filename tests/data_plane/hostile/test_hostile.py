"""What comes in by mistake or on purpose, as data: bytes -> status, code, closed, what a node got.

A row stands in a `.toml` beside this file and is named after its row of the list of bad input, as
are the tests: `pytest -k B05`. Its keys:

    also       what else it proves, in the table of tests/system/README.md
    raw        the bytes on the connection; or
    path       a POST there of `body` (or of each of `bodies`), with `headers`
    with       what `%s` stands for, one test for each
    then       more bytes, sent at once behind the request
    keys       whether API keys exist
    status     of the one answer (`statuses`, each `times` times: of several)
    code, text the code in the answer's body, and words in it
    has, lacks header lines that the answer has, words that are nowhere in it
    closes     whether the connection is closed; if not, the next request on it must be understood
    (each is sent as the first request on a connection, and again behind two ordinary ones)
    node       what arrived at the node, `node_body` in it, `node_lacks` nowhere in its headers
               (read from every byte that was sent there: behind a request there is nothing)

A character of a string is one byte (Latin-1). `<3*ab>` is `ababab`; `<key>` is a good key.
"""

import asyncio
import json
import re
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from fakes import readings
from fakes.ollama import FakeOllama
from fakes.tap import Tap

from data_plane.proxy import server
from shared.credentials import mint
from shared.snapshot import ApiKey

HERE: Final = Path(__file__).parent
NEXT: Final = b"GET / HTTP/1.1\r\nHost: proxy\r\n\r\n"
ORDINARY: Final = b"POST /api/chat HTTP/1.1\r\nHost: proxy\r\nContent-Length: 2\r\n\r\n{}"
"""Served without a node; headers that stay the same are known from then on."""

MAX_BODY_BYTES: Final = 65_536
WAIT_S: Final = 10.0

ALICE, NARROW, REVOKED, EXPIRED, UNKNOWN = (mint() for _ in range(5))
KEYS: Final = (
    ApiKey(id=ALICE.id, sha256=ALICE.sha256),
    ApiKey(
        id=NARROW.id,
        sha256=NARROW.sha256,
        allowed_models=("registry.ollama.ai/library/llama3.2:latest",),
    ),
    ApiKey(id=REVOKED.id, sha256=REVOKED.sha256, enabled=False),
    ApiKey(id=EXPIRED.id, sha256=EXPIRED.sha256, expires_at=time.time() - 60),
)
_TYPO: Final = ALICE.text[:-1] + ("a" if ALICE.text[-1] != "a" else "b")
WORDS: Final = {
    "<key>": ALICE.text,
    "<narrow key>": NARROW.text,
    "<revoked key>": REVOKED.text,
    "<expired key>": EXPIRED.text,
    "<unknown key>": UNKNOWN.text,
    "<key with another secret>": UNKNOWN.text.replace(UNKNOWN.id, ALICE.id),
    "<key with a typo>": _TYPO,
}
_REPEATED: Final = re.compile(r"<(\d+)\*([^<>]+)>", re.DOTALL)


def rows() -> Iterator[dict[str, Any]]:
    for path in sorted(HERE.glob("*.toml")):
        yield from tomllib.loads(path.read_text(encoding="utf-8")).get("row", [])


def cases() -> Iterator[Any]:
    """One test for each `with` and each of `bodies`."""
    for row in rows():
        number = 0
        for word in row.get("with", [""]):
            for body in row.get("bodies", [row.get("body", "")]):
                number += 1
                name = f"{row['id']}-{row['what']}-{number}"
                yield pytest.param(row, word, body, id=name.replace(" ", "-"))


def expanded(text: str) -> bytes:
    """The bytes that a text of the data stands for."""
    for word, meaning in WORDS.items():
        text = text.replace(word, meaning)
    while (longer := _REPEATED.sub(lambda found: found[2] * int(found[1]), text)) != text:
        text = longer
    return text.encode("latin-1")


def request_of(row: dict[str, Any], word: str, body: str) -> bytes:
    if "raw" in row:
        request = expanded(row["raw"].replace("%s", word))
    else:
        headers = expanded(row.get("headers", "").replace("%s", word))
        content = expanded(body)
        request = b"POST %b HTTP/1.1\r\nHost: proxy\r\n%bContent-Length: %d\r\n\r\n%b" % (
            *(row["path"].encode(), headers),
            *(len(content), content),
        )
    return request + expanded(row.get("then", ""))


def answers_in(received: bytes) -> list[tuple[int, bytes, bytes]]:
    """Status, head and body of every answer that came whole."""
    found = []
    while b"\r\n\r\n" in received:
        head, _, rest = received.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        if length is not None:
            size = int(length[1])
            if len(rest) < size:
                break
            body, received = rest[:size], rest[size:]
        else:
            assert status in {100, 204}, head
            body, received = b"", rest
        found.append((status, head, body))
    return found


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the rest of what was refused."""
    monkeypatch.setattr(server, "LINGERING_S", 0.05)


Case = tuple[dict[str, Any], str, str]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("row", "word", "body"), list(cases()))
async def test_bad_input(
    row: dict[str, Any], word: str, body: str, make_plane: Any, dial: Any
) -> None:
    """S04, S10, S12."""
    plane = await make_plane(AIVONX_MAX_BODY_BYTES=str(MAX_BODY_BYTES))
    async with FakeOllama(["llama3.2", "other"]) as node, Tap(node) as tap:
        await plane.apply(tap, keys=KEYS if row.get("keys") else ())
        for requests_before in (0, 2):
            wire = await dial(plane)
            for _ in range(requests_before):
                wire.send(ORDINARY)
                await received_whole(wire, bool)
                wire.received = b""
            tap.take()
            wire.send(request_of(row, word, body))
            await check(row, wire, tap)


async def check(row: dict[str, Any], wire: Any, tap: Tap) -> None:
    """What came back, what the connection is good for now, and what the node got."""
    expected = row.get("statuses", [row.get("status")]) * row.get("times", 1)
    await received_whole(wire, lambda found: len(found) >= len(expected))
    answers = answers_in(wire.received)
    check_answers(row, answers, expected)
    check_closing(row, await after(wire, row, len(expected)))
    check_node(row, tap.take())
    assert_bare(wire.received)


async def received_whole(
    wire: Any, is_enough: Callable[[list[tuple[int, bytes, bytes]]], bool]
) -> None:
    """Read until that much came, or the connection has ended."""
    async with asyncio.timeout(WAIT_S):
        while not is_enough(answers_in(wire.received)) and await wire.more():
            pass


async def after(wire: Any, row: dict[str, Any], expected: int) -> list[tuple[int, bytes, bytes]]:
    """What is answered to a further request on the same connection."""
    wire.send(NEXT)
    if row.get("closes"):
        await wire.to_the_end(WAIT_S)
    else:
        await received_whole(wire, lambda found: len(found) > expected)
    return answers_in(wire.received)[expected:]


def check_closing(row: dict[str, Any], further: list[tuple[int, bytes, bytes]]) -> None:
    if row.get("closes"):
        assert further == [], "a request was found behind one that ended the connection"
    else:
        assert [status for status, _, _ in further] == [200], "the next request was not understood"


def check_answers(
    row: dict[str, Any], answers: list[tuple[int, bytes, bytes]], expected: list[int]
) -> None:
    assert [status for status, _, _ in answers] == expected, answers[:3]
    _, head, body = answers[-1]
    text = (head + b"\r\n\r\n" + body).decode("latin-1")
    if code := row.get("code"):
        assert json.loads(body)["code"] == code
        assert json.loads(body)["request_id"]
    assert row.get("text", "") in text
    lines = head.decode("latin-1").split("\r\n")
    for line in row.get("has", []):
        assert line in lines
    for word in row.get("lacks", []):
        assert expanded(word).decode("latin-1") not in text
    assert ("Connection: close" in lines) == bool(row.get("closes")), lines


def check_node(row: dict[str, Any], sent: list[bytes]) -> None:
    """Each message is one request to its last byte, or reading it fails."""
    shapes = [readings.shape(message) for message in sent]
    assert [each.request_line.decode() for each in shapes] == [
        f"{line} HTTP/1.1" for line in row.get("node", [])
    ]
    for message, each in zip(sent, shapes, strict=True):
        if "node_body" in row:
            assert each.body == expanded(row["node_body"])
        head = message.partition(b"\r\n\r\n")[0].lower()
        for word in row.get("node_lacks", []):
            assert expanded(word).lower() not in head


def assert_bare(received: bytes) -> None:
    """No answer names what it was made with."""
    for word in (b"Server:", b"aiohttp", b"Python", b"Traceback", b".py"):
        assert word not in received
