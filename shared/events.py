"""What a probe observed about a node. An enum, never a body: a probe must not be a way to read."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

import msgspec


class ProbeOutcome(StrEnum):
    """How a probe ended."""

    OK = "ok"
    REFUSED = "refused"
    TIMEOUT = "timeout"
    DNS_FAILED = "dns_failed"
    TLS_FAILED = "tls_failed"
    UNREACHABLE = "unreachable"
    UNAUTHORIZED = "unauthorized"
    NOT_OLLAMA = "not_ollama"
    ADDRESS_NOT_ALLOWED = "address_not_allowed"


CURES: Final[dict[ProbeOutcome, str]] = {
    ProbeOutcome.OK: "the node answers",
    ProbeOutcome.REFUSED: (
        "nothing listens at this address; check the port (Ollama's is 11434), and start Ollama "
        "there, with OLLAMA_HOST=0.0.0.0 when it runs on another machine"
    ),
    ProbeOutcome.TIMEOUT: "no answer in time; check the address, the firewall and the node's load",
    ProbeOutcome.DNS_FAILED: "the host name does not resolve; check its spelling",
    ProbeOutcome.TLS_FAILED: "the TLS handshake failed; check the certificate, or use http://",
    ProbeOutcome.UNREACHABLE: "the connection broke; check the network and the node",
    ProbeOutcome.UNAUTHORIZED: "the node asks for a credential; set its token",
    ProbeOutcome.NOT_OLLAMA: (
        "something answers there, but not as an Ollama server does; check the address and the port "
        "(Ollama's is 11434)"
    ),
    ProbeOutcome.ADDRESS_NOT_ALLOWED: (
        "the address is not in the networks where nodes may be (AIVONX_NODE_ALLOWED_CIDRS)"
    ),
}
"""What an operator reads, and does next."""


class ProbeResult(msgspec.Struct, frozen=True, kw_only=True):
    """One probe of one node."""

    outcome: ProbeOutcome
    latency_s: float | None = None
    """Round trip of the first request, connection included; None unless the outcome is ok."""

    version: str = ""

    @property
    def is_ok(self) -> bool:
        """Whether the node can be used."""
        return self.outcome is ProbeOutcome.OK

    @property
    def detail(self) -> str:
        """The outcome in a sentence that says what to do next."""
        return CURES[self.outcome]
