"""Where the next request for a model would go: a data plane is asked, since only it knows.

It chooses with what it has learned and sees now, by the code that chooses for requests, so this
cannot say anything else than what would happen there (`shared.questions`).
"""

from __future__ import annotations

import time
import uuid
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
from redis.exceptions import RedisError

from control_plane.common import redis
from control_plane.common.errors import ApiError
from control_plane.common.reports import instances_read
from shared import keys, questions
from shared.questions import BARS, Outcome, Question

if TYPE_CHECKING:
    from redis import Redis

    from control_plane.common.reports import Instance
    from shared.questions import Answer, Candidate

PATIENCE_S: Final = 2.0
"""An answer takes milliseconds; a data plane that has just lost Redis is back in that time."""

LOOK_S: Final = 0.25
"""One wait for an answer. Less than the client's time-out, which would take it for an outage."""


def explained_now(
    *, model: str, prompt_tokens: int = 0, num_ctx: int | None = None, instance: str = ""
) -> dict[str, Any]:
    """Ask a data plane: `instance`, or the first by name that serves. Raises ApiError: 503 when
    Redis or the data planes give no answer, 404 when there is no such live instance.
    """
    client = redis.client()
    try:
        asked = _asked(instances_read(client), instance)
        question = Question(
            id=uuid.uuid4().hex,
            instance=asked,
            model=model,
            prompt_tokens=prompt_tokens,
            num_ctx=num_ctx,
        )
        client.publish(keys.HINTS, questions.encode(question))
        answer = _awaited(client, question.id)
    except RedisError as error:
        detail = "Redis cannot be asked just now, and the data planes only through it; try again."
        raise ApiError(503, "reports_unavailable", detail, headers={"Retry-After": "2"}) from error
    if answer is None:
        detail = (
            f"The data plane {asked} did not answer within {PATIENCE_S:.0f} s: it may have just "
            "stopped, have no snapshot yet, or be of an older release. See /api/proxy/state and "
            "the data plane's log."
        )
        raise ApiError(503, "no_answer", detail, headers={"Retry-After": "2"})
    return _public(model, answer)


def _asked(instances: list[Instance], wanted: str) -> str:
    """Whom to ask: a live instance, of all rather one that serves."""
    live = [each for each in instances if each.report is not None]
    if wanted:
        if not any(each.name == wanted for each in live):
            detail = f"No live data plane is called {wanted}; /api/proxy/state lists them."
            raise ApiError(404, "not_found", detail)
        return wanted
    serving = [each for each in live if each.report and each.report.ready]
    if not live:
        detail = "No data plane reports; start one, or look at its log for why it cannot."
        raise ApiError(503, "no_data_plane", detail, headers={"Retry-After": "5"})
    return (serving or live)[0].name


def _awaited(client: Redis, question: str) -> Answer | None:
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        found = cast(
            "tuple[bytes, bytes] | None", client.blpop([keys.answers(question)], timeout=LOOK_S)
        )
        if found is not None:
            return questions.decode_answer(found[1])
    return None


def _public(model: str, answer: Answer) -> dict[str, Any]:
    names = {each.node_id: each.name for each in answer.candidates}
    return {
        "model": model,
        "outcome": answer.outcome.value,
        "sentence": _sentence(model, answer, names.get(answer.node_id, answer.node_id)),
        "node_id": answer.node_id,
        "node": names.get(answer.node_id, ""),
        "reason": answer.reason,
        "runner_up": answer.runner_up,
        "strategy": answer.strategy,
        "instance": answer.instance,
        "epoch": answer.epoch,
        "revision": answer.revision,
        "candidates": [_row(each) for each in answer.candidates],
    }


def _sentence(model: str, answer: Answer, name: str) -> str:
    words = {
        Outcome.SENT: f"goes to {name}",
        Outcome.HELD: f"is held, for {name} as it looks now",
        Outcome.NO_NODE: "is answered 503",
        Outcome.UNKNOWN_MODEL: "is answered 404",
    }
    return f"The next request for {model} {words[answer.outcome]}, because {answer.because}."


def _row(candidate: Candidate) -> dict[str, Any]:
    row = msgspec.structs.asdict(candidate)
    bar, seen = candidate.bar, row.pop("detail")
    row["bar"] = bar and bar.value
    row["bar_detail"] = (BARS[bar] + (f" ({seen})" if seen else "")) if bar is not None else ""
    return row
