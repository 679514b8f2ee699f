"""How an attempt at a node can fail, by phase. `forward` turns foreign errors into these."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from shared.events import ProbeOutcome


class Fault(StrEnum):
    """What went wrong between us and a node."""

    # Connecting: the node has seen nothing of the request.
    REFUSED = "refused"
    CONNECT_TIMEOUT = "connect_timeout"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    UNREACHABLE = "unreachable"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"
    BAD_TOKEN = "bad_token"  # noqa: S105 - a fault's name: the sealed token cannot be opened

    # Waiting for the head of the answer.
    NO_ANSWER = "no_answer"
    BAD_HTTP = "bad_http"

    # Within the answer's body.
    BROKEN = "broken"
    BAD_FRAMING = "bad_framing"
    GIVEN_UP = "given_up"
    """Well-formed to its end, and by its own word not finished."""

    # We gave up by ourselves.
    NODE_DOWN = "node_down"
    """Its probes failed while it was silent."""

    STALLED = "stalled"
    """Its probes succeed, but the answer has been silent beyond the limit."""

    SHUTDOWN = "shutdown"

    # No node's fault.
    NO_RESOURCES = "no_resources"
    """This machine has no descriptor, port or memory left for a connection."""


CONNECTING: Final = frozenset(
    {
        Fault.REFUSED,
        Fault.CONNECT_TIMEOUT,
        Fault.DNS_FAILED,
        Fault.TLS_FAILED,
        Fault.UNREACHABLE,
        Fault.ADDRESS_NOT_ALLOWED,
        Fault.BAD_TOKEN,
    }
)

PROBE_OUTCOMES: Final = {
    Fault.REFUSED: ProbeOutcome.REFUSED,
    Fault.CONNECT_TIMEOUT: ProbeOutcome.TIMEOUT,
    Fault.DNS_FAILED: ProbeOutcome.DNS_FAILED,
    Fault.TLS_FAILED: ProbeOutcome.TLS_FAILED,
    Fault.ADDRESS_NOT_ALLOWED: ProbeOutcome.ADDRESS_NOT_ALLOWED,
    Fault.BAD_TOKEN: ProbeOutcome.UNAUTHORIZED,
    Fault.BAD_HTTP: ProbeOutcome.NOT_OLLAMA,
}
"""What a fault means for a probe; every other one is `unreachable`."""


SENTENCES: Final = {
    Fault.REFUSED: "nothing listens at its address",
    Fault.CONNECT_TIMEOUT: "it cannot be reached",
    Fault.DNS_FAILED: "its host name does not resolve",
    Fault.TLS_FAILED: "no TLS connection to it can be made",
    Fault.UNREACHABLE: "it cannot be reached",
    Fault.ADDRESS_NOT_ALLOWED: "its address is not allowed",
    Fault.BAD_TOKEN: "its token cannot be opened",
    Fault.NO_ANSWER: "it closed the connection without an answer",
    Fault.BAD_HTTP: "what it answers is not HTTP",
    Fault.BROKEN: "its answer broke off",
    Fault.BAD_FRAMING: "its answer is not well-formed HTTP",
    Fault.GIVEN_UP: "it gave up in the middle of its answer",
    Fault.NODE_DOWN: "it has fallen silent and does not answer probes",
    Fault.STALLED: "it has fallen silent",
    Fault.SHUTDOWN: "the proxy shuts down",
    Fault.NO_RESOURCES: "the proxy has no room for another connection",
}
"""What a client is told of a node that it named, or that is one of several."""


class NodeFailedError(Exception):
    """An attempt at a node failed."""

    def __init__(self, fault: Fault, detail: str = "") -> None:
        super().__init__(f"{fault}: {detail}" if detail else fault)
        self.fault = fault
