"""The next request for a model, as a data plane explains it: asked through a real Valkey."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from control_plane.state import explain
from shared import keys, questions, reports
from shared.questions import Answer, Bar, Candidate, Outcome, Question
from shared.reports import Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pytest_django.fixtures import SettingsWrapper
    from redis import Redis
    from rest_framework.test import APIClient

EXPLAIN = "/api/proxy/explain"


def reported(redis: Redis, instance: str, *, ready: bool = True) -> None:
    now = time.time()
    told = Report(
        instance=instance,
        version="0.1.0",
        host="here",
        pid=1,
        started_at=now,
        reported_at=now,
        epoch="e",
        revision=7,
        ready=ready,
        draining=False,
        requests_total=0,
        nodes={},
    )
    redis.set(keys.report(instance), reports.encode(told), ex=keys.REPORT_TTL_S)
    redis.zadd(keys.INSTANCES, {instance: now})


def answer_of(question: Question, outcome: Outcome = Outcome.SENT) -> Answer:
    return Answer(
        instance=question.instance,
        epoch="e",
        revision=7,
        strategy="predicted",
        outcome=outcome,
        node_id="n1",
        reason="predicted",
        because="the whole answer is predicted to cost least there",
        runner_up="beta (+0.250)",
        candidates=(
            Candidate(node_id="n1", name="alpha", score=1.0, ttft_s=0.5, is_loaded=True),
            Candidate(node_id="n2", name="beta", score=1.25, ttft_s=0.75),
            Candidate(node_id="n3", name="gamma", bar=Bar.DOWN, detail="refused"),
        ),
    )


@contextmanager
def data_plane(
    redis: Redis, say: Callable[[Question], Answer] = answer_of
) -> Iterator[list[Question]]:
    """Answers the first question that comes, as the real one does."""
    heard: list[Question] = []
    pubsub = redis.pubsub()
    pubsub.subscribe(keys.HINTS)
    assert pubsub.get_message(timeout=5) is not None

    def listen() -> None:
        message = pubsub.get_message(timeout=5)
        if message is None:
            return
        question = questions.decode_question(message["data"])
        assert question is not None
        heard.append(question)
        redis.rpush(keys.answers(question.id), questions.encode(say(question)))

    thread = threading.Thread(target=listen)
    thread.start()
    try:
        yield heard
    finally:
        thread.join(10)
        pubsub.close()


def test_the_choice_and_everybody_else_with_what_they_lack(
    as_viewer: APIClient, redis: Redis
) -> None:
    reported(redis, "one")
    with data_plane(redis) as heard:
        found = as_viewer.get(EXPLAIN, {"model": "llama3", "prompt_tokens": 50, "num_ctx": 4096})
    assert (heard[0].model, heard[0].prompt_tokens, heard[0].num_ctx) == ("llama3", 50, 4096)
    assert found.status_code == 200
    assert (found.data["node"], found.data["instance"]) == ("alpha", "one")
    assert found.data["sentence"] == (
        "The next request for llama3 goes to alpha, because the whole answer is predicted to cost "
        "least there."
    )
    assert [row["bar"] for row in found.data["candidates"]] == [None, None, "down"]
    assert found.data["candidates"][2]["bar_detail"] == (
        "this data plane cannot reach it (refused)"
    )
    assert found.data["candidates"][1]["ttft_s"] == 0.75


@pytest.mark.parametrize(
    ("outcome", "words"),
    [
        (Outcome.HELD, "is held, for alpha"),
        (Outcome.NO_NODE, "is answered 503"),
        (Outcome.UNKNOWN_MODEL, "is answered 404"),
    ],
)
def test_what_would_become_of_it_is_said(
    as_viewer: APIClient, redis: Redis, outcome: Outcome, words: str
) -> None:
    reported(redis, "one")
    with data_plane(redis, lambda question: answer_of(question, outcome)):
        found = as_viewer.get(EXPLAIN, {"model": "llama3"})
    assert found.data["outcome"] == outcome.value
    assert words in found.data["sentence"]


def test_one_that_serves_is_asked_unless_another_is_named(
    as_viewer: APIClient, redis: Redis
) -> None:
    reported(redis, "a-new-one", ready=False)
    reported(redis, "one")
    with data_plane(redis):
        assert as_viewer.get(EXPLAIN, {"model": "llama3"}).data["instance"] == "one"
    with data_plane(redis):
        query = {"model": "llama3", "instance": "a-new-one"}
        assert as_viewer.get(EXPLAIN, query).data["instance"] == "a-new-one"
    refused = as_viewer.get(EXPLAIN, {"model": "llama3", "instance": "nobody"})
    assert (refused.status_code, refused.data["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"model": ""},
        {"model": "a//b"},
        {"model": "llama3", "prompt_tokens": "-1"},
        {"model": "llama3", "prompt_tokens": "many"},
        {"model": "llama3", "num_ctx": "0"},
    ],
)
def test_a_question_that_makes_no_sense_is_refused(
    as_viewer: APIClient, query: dict[str, str]
) -> None:
    refused = as_viewer.get(EXPLAIN, query)
    assert refused.status_code == 400
    assert refused.data["errors"].keys() <= {"model", "prompt_tokens", "num_ctx"}
    assert refused.data["errors"]


def test_nobody_to_ask_is_told_with_what_to_do(as_viewer: APIClient, redis: Redis) -> None:
    refused = as_viewer.get(EXPLAIN, {"model": "llama3"})
    assert (refused.status_code, refused.data["code"]) == (503, "no_data_plane")
    assert refused.headers["Retry-After"] == "5"


def test_a_data_plane_that_does_not_answer_is_named(
    as_viewer: APIClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "PATIENCE_S", 0.3)
    reported(redis, "mute")
    refused = as_viewer.get(EXPLAIN, {"model": "llama3"})
    assert (refused.status_code, refused.data["code"]) == (503, "no_answer")
    assert "mute" in refused.data["detail"]


def test_without_redis_it_says_so(as_viewer: APIClient, settings: SettingsWrapper) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    refused = as_viewer.get(EXPLAIN, {"model": "llama3"})
    assert (refused.status_code, refused.data["code"]) == (503, "reports_unavailable")
