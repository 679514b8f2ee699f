"""The history checker finds what it is there to find."""

import json

import pytest
from fakes.history import Ended, faults_in


def line(request_id: str, outcome: str = "ok", status: int = 200) -> bytes:
    fields = {"event": "request", "request_id": request_id, "outcome": outcome, "status": status}
    return json.dumps(fields, separators=(",", ":")).encode()


def test_what_fits_is_no_fault():
    asked = {
        "a": Ended("stream", 200, 1.0),
        "b": Ended("broken visibly", 200, 2.0),
        "c": Ended("refused", 400, 3.0),
        "d": Ended("left", 200, 4.0),
        "e": Ended("502", 502, 5.0),
    }
    log = [
        line("a"),
        b'{"event":"applied","revision":7}',
        line("b", "truncated"),
        line("c", "rejected", 400),
        line("d", "client_abort"),
        line("e", "node_error", 502),
    ]
    assert faults_in(asked, log) == []


@pytest.mark.parametrize(
    ("ended", "log", "fault"),
    [
        (Ended("stream", 200, 1.0), [], "0 access lines for one request"),
        (Ended("stream", 200, 1.0), [line("a"), line("a")], "2 access lines for one request"),
        (Ended("stream", 200, 1.0), [line("a", "truncated")], "stream at the client, truncated"),
        (Ended("broken", 200, 1.0), [line("a", "ok")], "broken at the client, ok"),
        (Ended("left", 200, 1.0), [line("a", "shed")], "left at the client, shed"),
        (Ended("refused", 400, 1.0), [line("a", "rejected")], "status 200 in the log, 400"),
        (Ended("silent", 200, 1.0), [line("a")], "ended as silent"),
        (Ended("hung", 0, 1.0), [line("a", "client_abort")], "ended as hung"),
        (Ended("unreachable", 0, 1.0), [], "ended as unreachable"),
        (Ended("stream", 200, 1.0), [line("a"), line("b")], "a line of a request that nobody sent"),
    ],
)
def test_what_does_not_fit_is_told(ended: Ended, log: list[bytes], fault: str):
    assert any(fault in told for told in faults_in({"a": ended}, log))


def test_the_death_of_a_worker_excuses_a_cut_connection_then_and_only_then():
    asked = {"a": Ended("connection", 0, 5.0)}
    assert faults_in(asked, [], [(4.0, 6.0)]) == []
    assert faults_in(asked, [], [(1.0, 2.0), (6.0, 7.0)])


def test_the_line_of_an_answer_just_before_may_have_died_with_its_worker():
    log: list[bytes] = []
    window = [(4.0, 6.0)]
    assert faults_in({"a": Ended("stream", 200, 3.8)}, log, window, window) == []
    assert faults_in({"a": Ended("stream", 200, 3.0)}, log, window, window)
    assert faults_in({"a": Ended("stream", 200, 3.8)}, log, window), "a restart loses no line"
    assert faults_in({"a": Ended("stream", 200, 3.8)}, [line("a"), line("a")], window, window)


def test_it_excuses_no_answer_that_looks_complete():
    assert faults_in({"a": Ended("silent", 200, 5.0)}, [line("a")], [(4.0, 6.0)])
