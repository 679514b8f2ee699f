"""Where lines go: of several processes into one pipe, none is torn, and each says whose it is."""

import json
import os
import select
import threading

from data_plane.telemetry.logs import LineSink, Log, PlainSink
from data_plane.telemetry.record import Record


def test_a_shared_pipe_gets_whole_lines_in_pieces_that_stay_together() -> None:
    read, write = os.pipe()
    pieces: list[bytes] = []
    reader = threading.Thread(target=lambda: pieces.extend(iter(lambda: os.read(read, 10**6), b"")))
    reader.start()
    sinks = [LineSink(write, is_shared=True) for _ in range(4)]
    for number in range(500):
        for which, sink in enumerate(sinks):
            sink.write(b"%d-%d-" % (which, number) + b"x" * 300 + b"\n")
    for sink in sinks:
        sink.close()
    os.close(write)
    reader.join()
    os.close(read)
    lines = b"".join(pieces).splitlines()
    assert len(lines) == 2_000
    assert {len(line.partition(b"x")[2]) for line in lines} == {299}


def test_a_line_longer_than_a_piece_goes_alone() -> None:
    read, write = os.pipe()
    sink = LineSink(write, is_shared=True)
    long = b"y" * (select.PIPE_BUF * 2) + b"\n"
    for line in (b"a\n", long, b"b\n"):
        sink.write(line)
    sink.close()
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        assert pipe.read() == b"a\n" + long + b"b\n"


def logged(worker: int) -> list[dict[str, object]]:
    read, write = os.pipe()
    log = Log(PlainSink(write), as_json=True, level="INFO", worker=worker)
    log.info("something", x=1)
    log.access(Record("id", "127.0.0.1", "GET", 0.0), 1.0)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        return [json.loads(line) for line in pipe]


def test_every_line_of_a_worker_has_its_number() -> None:
    assert [line["worker"] for line in logged(3)] == [3, 3]


def test_one_process_alone_has_no_number() -> None:
    assert not any("worker" in line for line in logged(0))


def test_a_log_that_cannot_be_written_is_counted() -> None:
    read, write = os.pipe()
    os.close(read)
    sink = PlainSink(write)
    sink.write(b"x\n")
    os.close(write)
    assert sink.dropped == 1
