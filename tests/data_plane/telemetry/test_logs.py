"""Log lines: whole, bounded, and without anything that must not be there."""

import asyncio
import json
import os

from data_plane.telemetry import logs
from data_plane.telemetry.logs import LineSink, Log, Record
from shared.codes import ErrorCode, Outcome


class Kept:
    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.dropped = 0

    def write(self, line: bytes) -> None:
        self.written.append(line)


def record(**fields) -> Record:
    return Record("req_1", "192.0.2.1", "POST", "/api/chat", 10.0, **fields)


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
