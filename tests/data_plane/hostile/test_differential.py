"""We read HTTP as nginx and haproxy do, in front of us and behind us.

The corpus is ambiguous.toml, seeds.toml and the rows of framing.toml. What both programs made of it
is recorded in verdicts.json (record.py); against that we are held always, and against the programs
themselves where they are installed.

- In front: what they pass on as one request, we take for that one request with that body, or refuse
  it. Never for two, and never for another body.
- Behind: what we send to a node they take for the one request that we meant. What was shown for the
  recorded messages is true of every message of the same shape (readings.Shape).
"""

import asyncio
import contextlib
import itertools
import json
import os
import re
from pathlib import Path
from typing import Any, Final

import pytest
from fakes import fronts, readings
from fakes.ollama import FakeOllama
from fakes.tap import Tap

from data_plane.proxy import server

RECORD: Final = json.loads(readings.VERDICTS.read_text(encoding="utf-8"))
LAST: Final = b"GET /api/version HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n"
INSTALLED: Final = [name for name in fronts.PROGRAMS if fronts.program(name)]
LANES: Final = 4
PATIENCE_S: Final = 1.0
ANSWER_S: Final = 10.0
STATUS_LINE: Final = re.compile(rb"HTTP/1\.1 (?!100)(\d{3}) ")
RECORD_ANEW: Final = "run tests/data_plane/hostile/record.py"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the rest of what was refused."""
    monkeypatch.setattr(server, "LINGERING_S", 0.05)


async def assert_read_as_one(plane: Any, dial: Any, node: FakeOllama, message: bytes) -> int:
    """Send what a program passed on as one request, and another one behind it; our status.

    Of a request whose body never came whole haproxy has passed on what came: 0, not served.
    """
    try:
        meant = readings.shape(message)
    except readings.MalformedError:
        return await assert_not_served(plane, dial, node, message)
    lines_before, requests_before = len(plane.lines()), len(inference(node))
    wire = await dial(plane)
    wire.send(message + LAST)
    await wire.to_the_end(10)
    statuses = [int(status) for status in STATUS_LINE.findall(wire.received)]
    assert 1 <= len(statuses) <= 2, (message, wire.received)
    await plane.idle()
    lines = plane.lines()[lines_before:]
    assert len(lines) <= 2, (message, lines)
    for request in inference(node)[requests_before:]:  # unloading asks every node
        assert json.loads(request.body) == json.loads(meant.body), message
    if len(statuses) == 2:
        assert lines[-1]["route"] == "/api/version", (message, lines)
    return statuses[0]


async def assert_not_served(plane: Any, dial: Any, node: FakeOllama, message: bytes) -> int:
    before = len(inference(node))
    wire = await dial(plane)
    wire.send(message)
    wire.finish()
    await wire.to_the_end(10)
    await plane.idle()
    assert b"HTTP/1.1 200" not in wire.received, message
    assert len(inference(node)) == before, message
    return 0


def inference(node: FakeOllama) -> list[Any]:
    return [request for request in node.requests if request.method == "POST"]


def test_the_whole_corpus_is_recorded() -> None:
    for name in fronts.PROGRAMS:
        assert set(RECORD["passed on"][name]) == set(map(readings.text, readings.corpus())), (
            RECORD_ANEW
        )


@pytest.mark.parametrize("name", fronts.PROGRAMS)
async def test_what_a_program_in_front_passes_on_is_read_as_it_was_meant(
    name: str, make_plane: Any, dial: Any
) -> None:
    """B01."""
    plane = await make_plane()
    async with FakeOllama(["llama3.2"]) as node:
        await plane.apply(node)
        statuses = [
            await assert_read_as_one(plane, dial, node, readings.data(message))
            for messages in RECORD["passed on"][name].values()
            for message in messages
        ]
    assert statuses.count(200) > 20, "hardly anything got through: nothing was shown"


if INSTALLED:  # where there is none, the record is all there is to agree with

    @pytest.mark.parametrize("name", INSTALLED)
    async def test_the_program_that_is_here_agrees(
        name: str, make_plane: Any, dial: Any, tmp_path: Path
    ) -> None:
        """B01: the program itself, of whatever version, over the core of the corpus."""
        sent = [readings.data(message) for message in RECORD["sent"]]
        for place in ("behind", "before"):
            (tmp_path / place).mkdir()
        behind = await all_read(name, tmp_path / "behind", sent, ANSWER_S)
        for message, reading in zip(sent, behind, strict=True):
            assert not readings.misread(message, reading)
        before = await all_read(name, tmp_path / "before", readings.ambiguous(), fronts.LASTING_S)
        plane = await make_plane()
        async with FakeOllama(["llama3.2"]) as node:
            await plane.apply(node)
            for message in itertools.chain.from_iterable(before):
                await assert_read_as_one(plane, dial, node, message)


async def all_read(
    name: str, directory: Path, cases: list[bytes], wait_s: float
) -> list[list[bytes]]:
    """What the program takes each for; several of it work side by side, since each case waits."""

    async def lane(number: int) -> list[list[bytes]]:
        place = directory / str(number)
        place.mkdir()
        async with fronts.Front(name, place) as front:
            return [await front.read(case, wait_s) for case in cases[number::LANES]]

    lanes = await asyncio.gather(*map(lane, range(LANES)))
    return [lanes[number % LANES][number // LANES] for number in range(len(cases))]


async def test_all_that_we_send_has_a_shape_that_both_programs_read_as_meant(
    make_plane: Any, dial: Any
) -> None:
    """B01, S05."""
    plane = await make_plane()
    sent: dict[readings.Shape, bytes] = {}
    async with FakeOllama(["llama3.2"]) as node, Tap(node) as tap:
        await plane.apply(tap)
        for case in readings.corpus():
            wire = await dial(plane)
            wire.send(case + LAST)
            with contextlib.suppress(TimeoutError):  # some are merely incomplete
                await wire.to_the_end(PATIENCE_S)
            wire.leave(abruptly=True)
            for message in tap.take():
                shape = readings.shape(message)
                assert shape.is_plain, message
                sent.setdefault(shape, message)
    assert len(sent) > 10
    if path := os.environ.get("SENT_TO_NODES"):
        Path(path).write_text(json.dumps([readings.text(each) for each in sent.values()]))
        return
    shown = {readings.shape(readings.data(message)) for message in RECORD["sent"]}
    assert set(sent) <= shown, RECORD_ANEW
