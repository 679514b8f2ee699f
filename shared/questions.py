"""What an operator asks the data planes through Redis, and what they answer.

Only a data plane knows what the next choice would be: it has learned the speeds, and sees what is
on its way. So the control plane asks (on `keys.HINTS`), and an instance answers into a list of
that question (`keys.answers`), which expires. Nothing of a client's request is in either.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Final

import msgspec

MAX_QUESTION_BYTES: Final = 2_048
MAX_PROMPT_TOKENS: Final = 10_000_000
MAX_NUM_CTX: Final = 10_000_000


class Bar(StrEnum):
    """What keeps a node from being chosen."""

    DISABLED = "disabled"
    NO_MODEL = "no_model"
    STANDBY = "standby"
    DOWN = "down"
    MODEL_GONE = "model_gone"
    DRIFTED = "drifted_version"
    FAILING = "failing_model"
    BUSY = "busy"
    LOAD_HANGS = "load_hangs"


BARS: Final[dict[Bar, str]] = {
    Bar.DISABLED: "an operator has taken this node out of service",
    Bar.NO_MODEL: "it does not have the model on disk",
    Bar.STANDBY: "the health sweep keeps it in standby",
    Bar.DOWN: "this data plane cannot reach it",
    Bar.MODEL_GONE: "it is listed with the model, and answered that it does not have it",
    Bar.DRIFTED: "it has another version of the model; used when nobody has the one that is served",
    Bar.FAILING: "it failed with this model just now; used when nobody else is left",
    Bar.BUSY: "it asked to be left alone for a moment; used when nobody else is left",
    Bar.LOAD_HANGS: "a load hangs there; used when nobody else is left",
}
"""What an operator reads."""


class Question(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the next request for a model would go."""

    id: str
    """Of 32 hexadecimal digits."""

    instance: str
    """Who is asked."""

    model: str
    """As the operator spells it."""

    prompt_tokens: int = 0
    """0: as many as usual for the model."""

    num_ctx: int | None = None
    """None: the request does not say."""


class Candidate(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One node, as it was looked at. Times are in seconds."""

    node_id: str
    name: str
    bar: Bar | None = None
    """Why it is not chosen from; None: it could have been."""

    detail: str = ""
    """Of the bar: what was seen of the node."""

    active_count: float = 0
    """Requests that it is processing for the whole fleet."""

    is_loaded: bool = False
    score: float | None = None
    """What is compared, the lowest wins: seconds where the strategy predicts or goes by latency,
    active requests per weight for least_active. None: it was not weighed, or nothing is known."""

    ttft_s: float | None = None
    decode_s: float | None = None
    others_s: float | None = None
    eviction_s: float | None = None
    wait_s: float | None = None
    load_s: float | None = None
    """These are the terms of a prediction; None for the other strategies."""


class Outcome(StrEnum):
    """What would become of the request."""

    SENT = "sent"
    HELD = "held"
    NO_NODE = "no_node"
    UNKNOWN_MODEL = "unknown_model"


class Answer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one instance would do."""

    instance: str
    epoch: str
    revision: int
    strategy: str
    outcome: Outcome
    candidates: tuple[Candidate, ...]
    """The best first, then those that were barred."""

    node_id: str = ""
    """Where it goes, or which node it is held for; "" when there is none."""

    reason: str = ""
    because: str = ""
    """The reason in a sentence."""

    runner_up: str = ""
    """The second best of a prediction, and what it lacks."""


_ID: Final = re.compile(r"[0-9a-f]{32}")
_encode: Final = msgspec.json.Encoder().encode
_question: Final = msgspec.json.Decoder(Question)
_answer: Final = msgspec.json.Decoder(Answer)


def encode(told: Question | Answer) -> bytes:
    """Either as bytes."""
    return _encode(told)


def decode_question(data: bytes) -> Question | None:
    """A question from bytes; None when this reader cannot read it, or it is none that is asked."""
    if len(data) > MAX_QUESTION_BYTES:
        return None
    try:
        question = _question.decode(data)
    except msgspec.DecodeError:
        return None
    is_sane = (
        _ID.fullmatch(question.id)
        and 0 <= question.prompt_tokens <= MAX_PROMPT_TOKENS
        and (question.num_ctx is None or 0 < question.num_ctx <= MAX_NUM_CTX)
    )
    return question if is_sane else None


def decode_answer(data: bytes) -> Answer | None:
    """An answer from bytes; None when this reader cannot read it (another version wrote it)."""
    try:
        return _answer.decode(data)
    except msgspec.DecodeError:
        return None
