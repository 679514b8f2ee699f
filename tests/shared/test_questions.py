"""What crosses Redis between an operator's question and its answer."""

from __future__ import annotations

import pytest

from shared import questions
from shared.questions import BARS, Answer, Bar, Candidate, Outcome, Question

ID = "0123456789abcdef" * 2


def question(**fields: object) -> Question:
    return Question(**({"id": ID, "instance": "one", "model": "llama3"} | fields))  # type: ignore[arg-type]


def test_a_question_arrives_as_it_was_asked() -> None:
    asked = question(prompt_tokens=12, num_ctx=4096)
    assert questions.decode_question(questions.encode(asked)) == asked


@pytest.mark.parametrize(
    "fields",
    [
        {"id": "../../snapshot"},
        {"id": ""},
        {"prompt_tokens": -1},
        {"prompt_tokens": questions.MAX_PROMPT_TOKENS + 1},
        {"num_ctx": 0},
        {"model": "m" * questions.MAX_QUESTION_BYTES},
    ],
)
def test_what_no_operator_asks_is_not_answered(fields: dict[str, object]) -> None:
    assert questions.decode_question(questions.encode(question(**fields))) is None


def test_bytes_that_are_no_question_or_answer_are_neither() -> None:
    assert questions.decode_question(b"\xff{") is None
    assert questions.decode_answer(b'{"instance":1}') is None


def test_an_answer_arrives_as_it_was_given() -> None:
    answer = Answer(
        instance="one",
        epoch="e",
        revision=3,
        strategy="predicted",
        outcome=Outcome.SENT,
        candidates=(Candidate(node_id="n1", name="a", bar=Bar.DOWN, detail="refused", score=1.5),),
        node_id="n1",
    )
    assert questions.decode_answer(questions.encode(answer)) == answer


def test_every_bar_has_a_sentence() -> None:
    assert BARS.keys() == set(Bar)
