"""Metrics: names and labels, and bounds on both."""

import pytest

from data_plane.telemetry import metrics
from data_plane.telemetry.metrics import Metrics
from data_plane.telemetry.record import Record
from shared.codes import Outcome


def chat() -> Record:
    record = Record("r", "a", "POST", 1.0)
    record.route = "/api/chat"
    return record


def test_a_request_is_counted_timed_and_its_tokens_too() -> None:
    counted = Metrics()
    record = chat()
    record.model, record.node = "m", "n"
    record.outcome, record.status, record.first_byte_at = Outcome.OK, 200, 1.5
    record.prompt_tokens, record.answer_tokens = 3, 4
    counted.request(record, 2.0)
    text = counted.exposition().decode()
    assert 'aivonx_requests_total{outcome="ok",route="/api/chat",status="200"} 1.0' in text
    assert 'aivonx_ttft_seconds_sum{route="/api/chat"} 0.5' in text
    assert 'aivonx_tokens_total{kind="answer",model="m"} 4.0' in text


def test_whoever_looks_sees_every_request_that_has_ended() -> None:
    counted = Metrics()
    for number in range(1, metrics.COUNTED_TOGETHER + 10):
        counted.request(chat(), 2.0)
        if number in {3, metrics.COUNTED_TOGETHER + 5}:
            assert f'route="/api/chat",status="0"}} {number}.0' in counted.exposition().decode()


@pytest.mark.interpreted
def test_labels_are_bounded(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "MAX_CHILDREN", 10)
    counted = Metrics()
    for number in range(50):
        counted.attempt(f"node-{number}", "answered")
    text = counted.exposition().decode()
    assert text.count("aivonx_attempts_total{") == 11
    assert 'aivonx_attempts_total{node="other",result="other"} 40.0' in text


def test_what_lives_elsewhere_is_read_when_asked_for() -> None:
    counted = Metrics()
    values = {"n": 1.0}
    counted.watch(lambda: [("in_flight", "help", (), [((), values["n"])])])
    assert b"aivonx_in_flight 1.0" in counted.exposition()
    values["n"] = 2.0
    assert b"aivonx_in_flight 2.0" in counted.exposition()
