"""Bytes without meaning, sent in silence, so that nobody between us and the client gives up.

A model may load for minutes, and many load balancers give up after one. Where the proxy config asks
for it, a streamed answer is begun before there is anything to say: NDJSON with spaces in front of
its first record, server-sent events with a comment (reference 4.3; blank lines would break NDJSON
clients). It goes on between records, since a large tool call is silent as well.

What it costs: status 200 is said before the node has answered. Another node may still be tried, for
nothing of an answer is out, but what fails then is said within the stream, in the dialect, and the
connection is cut behind it. Answers that are not streamed are never begun early: an error within
a 200 of one JSON value would pass for success.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.protocol.dialects import FILLERS, STREAM_TYPES
from data_plane.protocol.routes import Framing

if TYPE_CHECKING:
    from data_plane.protocol.lines import LineScanner
    from data_plane.proxy.reply import Reply
    from shared.snapshot import ProxyConfig

_LINES: Final = (
    "Content-Type: {}\r\nCache-Control: no-store\r\nX-Request-Id: {}\r\nX-Accel-Buffering: no\r\n"
)


MIN_INTERVAL_S: Final = 0.05
"""Between two fillers, whatever is configured."""


def filler_after_s(config: ProxyConfig, framing: Framing) -> float:
    """Silence until a filler is sent, in seconds; 0: never."""
    return config.filler_ndjson_s if framing is Framing.NDJSON else config.filler_sse_s


class Filler:
    """Watches over the silence of one streamed answer. Made inside the running loop."""

    __slots__ = ("_content", "_interval_s", "_lines", "_reply", "_said", "_timer", "scanner")

    def __init__(self, reply: Reply, framing: Framing, interval_s: float, request_id: str) -> None:
        self.scanner: LineScanner | None = None
        """Of the answer once it has begun: nothing is sent within a record."""

        self._reply = reply
        self._interval_s = max(interval_s, MIN_INTERVAL_S)
        self._content = FILLERS[framing]
        self._lines = _LINES.format(STREAM_TYPES[framing], request_id).encode("ascii")
        self._said = 0
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)

    def stop(self) -> None:
        """Nothing more may be sent."""
        self._timer.cancel()

    def _tick(self) -> None:
        reply = self._reply
        if reply.bytes_out == self._said and not reply.is_held_up:
            if not reply.is_committed:
                reply.hold_open(self._lines)
                reply.fill(self._content)
            elif self.scanner is not None and not self.scanner.separator:
                reply.fill(self._content)
        self._said = reply.bytes_out
        self._timer = asyncio.get_running_loop().call_later(self._interval_s, self._tick)
