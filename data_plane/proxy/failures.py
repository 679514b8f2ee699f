"""Why attempts fail, and what the client is told when all of them have."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

from data_plane.proxy.answers import RefusedRequestError
from data_plane.upstream.faults import CONNECTING, Fault
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from data_plane.protocol.asks import Ask


class Failure(StrEnum):
    """Why an attempt gave the client nothing, in the order in which they decide the answer."""

    ERROR_500 = "error_500"
    BUSY = "busy"
    NODE_DOWN = "node_down"
    BAD_HTTP = "bad_http"
    NO_ANSWER = "no_answer"
    NO_CONNECTION = "no_connection"
    MODEL_MISSING = "model_missing"
    ROUTE_MISSING = "route_missing"
    GIVEN_UP = "given_up"
    DENIED = "denied"
    CLOUD_REFUSED = "cloud_refused"


FAILURES: Final = {
    **dict.fromkeys(CONNECTING, Failure.NO_CONNECTION),
    Fault.NO_ANSWER: Failure.NO_ANSWER,
    Fault.BROKEN: Failure.NO_ANSWER,
    Fault.BAD_HTTP: Failure.BAD_HTTP,
    Fault.BAD_FRAMING: Failure.BAD_HTTP,
    Fault.GIVEN_UP: Failure.GIVEN_UP,
    Fault.NODE_DOWN: Failure.NODE_DOWN,
    Fault.STALLED: Failure.NODE_DOWN,
}

NODE_IS_GONE: Final = frozenset(
    {Failure.NO_CONNECTION, Failure.NO_ANSWER, Failure.NODE_DOWN, Failure.DENIED}
)
"""These retries are not held against the retry budget: a node that dies takes all its requests with
it at one moment, and refusing to move them would make clients pay for it. They cannot multiply,
because the node gets no new ones."""


LACKING: Final = (
    "this proxy has no file descriptor, port or memory left for a connection to a node; try again "
    "in a few seconds, or ask an operator to raise `ulimit -Hn`"
)
DENIED_PAUSE_S: Final = "5"
"""A node that refuses is idle, and would be chosen first by every request."""

_SAYS_404: Final = frozenset({Failure.ROUTE_MISSING, Failure.MODEL_MISSING})


def final_error(  # noqa: PLR0911 - a table in the order of its rows
    failures: AbstractSet[Failure], ask: Ask, *, tried: int, is_exhausted: bool
) -> RefusedRequestError:
    """The error after failures at `tried` nodes; `is_exhausted`: whoever has it was tried."""
    if Failure.BUSY in failures:
        nodes = f"{tried} node{'s' if tried != 1 else ''} tried"
        return RefusedRequestError(
            ErrorCode.OVERLOADED,
            f"every node that has this model is busy ({nodes}); try again in a few seconds",
        )
    if Failure.NODE_DOWN in failures:
        return RefusedRequestError(ErrorCode.UPSTREAM_TIMEOUT)
    if Failure.GIVEN_UP in failures:
        return RefusedRequestError(ErrorCode.ANSWER_GIVEN_UP)
    if Failure.BAD_HTTP in failures:
        return RefusedRequestError(ErrorCode.UPSTREAM_PROTOCOL_ERROR)
    if Failure.DENIED in failures:
        return RefusedRequestError(ErrorCode.NODE_DENIED)
    if failures == {Failure.MODEL_MISSING}:
        return not_found(ask)
    if Failure.ROUTE_MISSING in failures and failures <= _SAYS_404:
        return RefusedRequestError(ErrorCode.NODE_TOO_OLD)
    if is_exhausted and Failure.NO_ANSWER not in failures:
        return RefusedRequestError(ErrorCode.NO_HEALTHY_NODE)
    return RefusedRequestError(ErrorCode.UPSTREAM_UNREACHABLE)


def not_found(ask: Ask) -> RefusedRequestError:
    """No node has the model, in the words of the route."""
    return RefusedRequestError(ErrorCode.MODEL_NOT_FOUND, ask.route.unknown_model(ask.model))
