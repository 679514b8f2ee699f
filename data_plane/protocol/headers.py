"""Which headers pass, in either direction.

To a node the list is written from scratch: what is not named here stays outside, and so do all
credentials of the client, its cookies, what it says of its own address, its origin (a node refuses
unknown ones) and everything that belongs to one connection. From a node all passes that does not
belong to the connection, to the node's own identity or to decisions that the proxy makes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

Pairs = list[tuple[str, str]]

PRODUCT: Final = "aivonx-proxy"

_PASSED_TO_NODE: Final = frozenset({
    "accept",
    "accept-language",
    "anthropic-beta",
    "anthropic-version",
    "traceparent",
    "tracestate",
    "user-agent",  # a node words some answers by it
})  # fmt: skip

_KEPT_FROM_CLIENT: Final = frozenset({
    # Of the connection (RFC 9110, 7.6.1), and what framed it.
    "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
    "te", "trailer", "transfer-encoding", "upgrade", "content-length",
    # Of the node.
    "server", "date", "via", "x-powered-by", "alt-svc", "strict-transport-security", "set-cookie",
    "www-authenticate",
    # Decided here.
    "cache-control", "pragma", "expires", "x-accel-buffering", "x-request-id", "vary",
})  # fmt: skip

_CORS: Final = "access-control-"

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+/=@~-]{0,127}", re.ASCII)
_CLEAN: Final = re.compile(r"[\t\x20-\x7e]*")


@dataclass(slots=True)
class Forwarded:
    """Where a request came from, by what the proxy itself knows or a trusted peer told it."""

    address: str
    proto: str
    host: str


def to_node(
    client: Iterable[tuple[str, str]],
    *,
    forwarded: Forwarded,
) -> Pairs:
    """The headers of a request to a node, but for those of the connection and of one request."""
    headers = [
        (name, value)
        for name, value in client
        if name.lower() in _PASSED_TO_NODE and _CLEAN.fullmatch(value)
    ]
    if not any(name.lower() == "user-agent" for name, _ in headers):
        headers.append(("User-Agent", PRODUCT))
    headers += [
        ("Content-Type", "application/json"),  # the body was put together here
        ("Accept-Encoding", "identity"),
        ("X-Forwarded-For", forwarded.address),
        ("X-Forwarded-Proto", forwarded.proto),
    ]
    if _CLEAN.fullmatch(forwarded.host):
        headers.append(("X-Forwarded-Host", forwarded.host))
    return headers


def to_client(node: Iterable[tuple[str, str]]) -> Pairs:
    """What of a node's headers passes."""
    pairs = list(node)
    named = _named_by_connection(pairs)
    dropped = _KEPT_FROM_CLIENT | named if named else _KEPT_FROM_CLIENT
    return [
        (name, value)
        for name, value in pairs
        if (lower := name.lower()) not in dropped
        and not lower.startswith(_CORS)
        and _CLEAN.fullmatch(value)
    ]


def valid_request_id(text: str | None) -> str | None:
    """A client's request id when it is fit for logs and headers, else None: make one."""
    return text if text is not None and _REQUEST_ID.fullmatch(text) else None


def _named_by_connection(pairs: Pairs) -> frozenset[str]:
    values = [value for name, value in pairs if name.lower() == "connection"]
    return frozenset(word.strip().lower() for value in values for word in value.split(","))
