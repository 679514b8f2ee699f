"""Log lines: whole, bounded, and without anything that must not be there."""

import asyncio
import json
import os
from collections.abc import Callable

from data_plane.telemetry import logs
from data_plane.telemetry.logs import LineSink, Log
from data_plane.telemetry.record import Record
from shared.codes import ErrorCode, Outcome


class Kept:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.dropped = 0

    def write(self, line: bytes) -> None:
        self.written.append(line)

    def write_later(self, make: Callable[[], bytes]) -> None:
        self.write(make())


class Later(Kept):
    def __init__(self) -> None:
        super().__init__()
        self.unmade: list[Callable[[], bytes]] = []

    def write_later(self, make: Callable[[], bytes]) -> None:
        self.unmade.append(make)


def record(**fields) -> Record:
    made = Record("req_1", "192.0.2.1", "POST", 10.0)
    made.path = "/api/chat"
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def test_an_access_line_says_how_the_request_ended() -> None:
    sink = Kept()
    ended = record(
        route="/api/chat",
        model="llama3:latest",
        node="gpu-1",
        node_id="n1",
        reason="least_active",
        attempts=2,
        status=200,
        outcome=Outcome.TRUNCATED,
        code=ErrorCode.UPSTREAM_TRUNCATED,
        first_byte_at=10.25,
        answer_tokens=7,
    )
    Log(sink, as_json=True, level="INFO").access(ended, 11.0)
    line = json.loads(sink.written[0])
    assert line["event"] == "request"
    assert (line["outcome"], line["code"]) == ("truncated", "upstream_truncated")
    assert (line["took_s"], line["ttft_s"]) == (1.0, 0.25)
    assert (line["node"], line["attempts"], line["answer_tokens"]) == ("gpu-1", 2, 7)
    assert "path" not in line, "the route says it"


def test_text_is_for_people() -> None:
    sink = Kept()
    log = Log(sink, as_json=False, level="INFO")
    log.info("snapshot_applied", revision=3, source="from disk")
    log.error("request_failed", error=ValueError("no"), request_id="r")
    assert sink.written[0].decode().endswith("snapshot_applied revision=3 source='from disk'\n")
    assert b"ValueError: no" in sink.written[1]


def test_the_level_is_obeyed() -> None:
    sink = Kept()
    log = Log(sink, as_json=True, level="WARNING")
    log.info("quiet")
    log.access(record(), 11.0)
    log.warning("loud")
    assert [json.loads(line)["event"] for line in sink.written] == ["loud"]


def test_what_clients_can_provoke_is_sampled() -> None:
    """S56."""
    sink = Kept()
    log = Log(sink, as_json=True, level="INFO")
    for _ in range(200):
        log.sampled("bad_request")
    assert len(sink.written) <= 2 * logs.SAMPLED_PER_SECOND


async def test_lines_reach_the_descriptor_in_order() -> None:
    read_end, write_end = os.pipe()
    sink = LineSink(write_end)
    for number in range(100):
        sink.write(b"%d\n" % number)
    await asyncio.sleep(0)
    sink.close()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as reading:
        assert reading.read().split() == [b"%d" % number for number in range(100)]


async def test_lines_that_are_made_later_keep_their_place() -> None:
    read_end, write_end = os.pipe()
    sink = LineSink(write_end)
    for number in range(0, 3 * logs.MADE_TOGETHER, 3):
        sink.write_later(lambda number=number: b"%d\n" % number)
        sink.write_later(lambda number=number: b"%d\n" % (number + 1))
        sink.write(b"%d\n" % (number + 2))
    sink.write_later(lambda: b"last\n")
    sink.close()
    os.close(write_end)
    with os.fdopen(read_end, "rb") as reading:
        lines = reading.read().split()
    assert lines == [*(b"%d" % number for number in range(3 * logs.MADE_TOGETHER)), b"last"]


async def test_no_more_than_a_handful_wait_to_be_made() -> None:
    read_end, write_end = os.pipe()
    sink, made = LineSink(write_end), []

    def line() -> bytes:
        made.append(1)
        return b"x\n"

    for _ in range(logs.MADE_TOGETHER - 1):
        sink.write_later(line)
    assert not made
    sink.write_later(line)
    assert len(made) == logs.MADE_TOGETHER
    sink.close()
    os.close(write_end)
    os.close(read_end)


def test_an_access_line_bears_the_moment_at_which_the_request_ended(monkeypatch) -> None:
    sink = Later()
    log = Log(sink, as_json=True, level="INFO")
    monkeypatch.setattr(logs.time, "time", lambda: 1_700_000_000.25)
    log.access(record(), 11.0)
    monkeypatch.setattr(logs.time, "time", lambda: 1_700_000_009.0)
    assert json.loads(sink.unmade[0]())["timestamp"].startswith("2023-11-14T22:13:20.250")


def test_a_log_that_nobody_reads_costs_lines_and_nothing_else() -> None:
    read_end, write_end = os.pipe()
    sink = LineSink(write_end)
    line = b"x" * 100 + b"\n"
    for _ in range(logs.MAX_WAITING_LINES + 2_000):
        sink.write(line)
    assert sink.dropped > 0
    os.close(read_end)
    sink.close()
    os.close(write_end)
