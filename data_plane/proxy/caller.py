"""What the headers of a client say: read once per connection, for all requests that repeat them.

A client sends the same headers again and again over one connection. What follows from them alone
(framing, origin, credential, what a node is told) is kept with the connection, and dropped with it.
What depends on the snapshot or the clock, above all whether a key is good, is judged every time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from aiohttp import hdrs

from data_plane.admission.identify import Given
from data_plane.admission.origins import answer_headers
from data_plane.protocol.headers import Forwarded, to_node
from data_plane.protocol.heads import encode_fields
from data_plane.proxy import intake
from data_plane.proxy.answers import RefusedRequestError
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.admission.hosts import Hosts
    from data_plane.admission.origins import Origins
    from data_plane.proxy.call import Call

# These change with the request and are read with each.
_VARYING: Final = frozenset(
    {b"content-length", b"Content-Length", b"x-request-id", b"X-Request-Id", b"X-Request-ID"}
)

RawHeaders = list[tuple[bytes, bytes]]


class Caller:
    """A client by its headers. Raises RefusedRequestError when they are refused."""

    __slots__ = (
        *("coding", "expects", "fields", "given", "headers", "is_host_ours", "origin", "raw"),
        "version",
    )

    def __init__(self, call: Call, raw: RawHeaders, origins: Origins, hosts: Hosts) -> None:
        intake.check_framing(call)
        headers = call.headers
        self.raw = raw
        self.version = call.version
        host = headers.get(hdrs.HOST, "")
        self.is_host_ours = hosts.is_ours(host)
        """Only looked at while the proxy is open: whoever has a key is no page of the web."""

        self.origin = headers.get(hdrs.ORIGIN)
        self.headers: dict[str, str] = {}
        """Ours, on every answer to this client."""

        if self.origin is not None:
            if not origins.is_allowed(self.origin, host):
                raise RefusedRequestError(ErrorCode.ORIGIN_NOT_ALLOWED)
            self.headers = answer_headers(self.origin)
        self.expects = hdrs.EXPECT in headers
        self.coding = intake.coding(call)
        self.given = Given(headers.getall(hdrs.AUTHORIZATION, ()), headers.getall("X-Api-Key", ()))
        pairs = to_node(headers.items(), forwarded=Forwarded(call.client, "http", host))
        self.fields = encode_fields(pairs)
        """Header lines for a node; the request id is added to them."""


def caller_of(call: Call, origins: Origins, hosts: Hosts) -> Caller:
    """Who calls: the one known from the last request on this connection, if nothing differs."""
    raw = [pair for pair in call.raw_headers if pair[0] not in _VARYING]
    known = call.connection.caller
    if known is not None and known.raw == raw and known.version == call.version:
        return known
    caller = call.connection.caller = Caller(call, raw, origins, hosts)
    return caller
