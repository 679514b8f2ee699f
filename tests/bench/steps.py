"""Microseconds of each step of one request and of one chunk, each by itself, without the kernel.

Numbers of a loop over one step are lower than in life, where the steps drive each other out of the
processor's caches; their proportions hold. `run.py` measures the whole.
"""

from __future__ import annotations

import asyncio
import random
import sys
import timeit
from typing import TYPE_CHECKING

import publish
import uvloop
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser

from data_plane.admission.identify import Given, Identifier
from data_plane.protocol import ask, bodies, heads, ndjson, routes, usage
from data_plane.routing.choose import choose
from data_plane.sync.applied import build
from data_plane.telemetry.logs import Log, Record
from data_plane.telemetry.metrics import Metrics
from shared import credentials, wire
from shared.codes import Outcome
from shared.model_names import canonical_name
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

SNAPSHOT_KEY = b"the snapshot key of the benchmark"
ROUNDS = 5
LOOPS = 5_000
BODY = b'{"model":"m","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":false}'
NODE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 260\r\n\r\n"
WHOLE = b'{"model":"m","message":{"role":"assistant","content":"Rayleigh."},"done":true}'
RECORD = b'{"model":"m","message":{"role":"assistant","content":" the"},"done":false}\n'


class Nowhere:
    """A log's end."""

    dropped = 0

    def write(self, line: bytes) -> None:
        """Forget it."""


def steps() -> dict[str, Callable[[], object]]:
    """What to measure, by name."""
    loop = asyncio.get_running_loop()
    minted = credentials.mint()
    sealed = wire.seal(publish.fleet(50, [1] * 50, minted), SNAPSHOT_KEY)
    view = build(sealed, SNAPSHOT_KEY)
    parser = HttpRequestParser(BaseProtocol(loop), loop, 65_536, auto_decompress=False)
    request = (
        b"POST /api/chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (minted.text.encode(), len(BODY), BODY)
    route = routes.lookup("POST", "/api/chat").route
    given, identifier = (
        Given((f"Bearer {minted.text}",), ()),
        Identifier(is_key_always_required=True),
    )
    record = Record("req_1", "127.0.0.1", "POST", "", 1.0, route="/api/chat", model="m", node="n")
    record.status, record.outcome, record.first_byte_at = 200, Outcome.OK, 1.5
    metrics, log = Metrics(), Log(Nowhere(), as_json=True, level="INFO")
    chunked, scanner = bodies.ChunkedBody(), ndjson.Scanner()
    chunk = b"%x\r\n%b\r\n" % (len(RECORD), RECORD)
    canonical = canonical_name("m")
    return {
        "parse the request (aiohttp, C)": lambda: parser.feed_data(request),
        "find the route": lambda: routes.lookup("POST", "/api/chat"),
        "judge the key": lambda: identifier.judge(
            view.keys, given, path_key=None, query="", address="127.0.0.1"
        ),
        "read the body's model and form": lambda: ask.parse(route, BODY, max_body_bytes=10**8),
        "choose a node": lambda: choose(
            view.pools, canonical, Strategy.LEAST_ACTIVE, loads={}, latencies={}, dice=random.random
        ),
        "read the node's head, known": lambda: heads.parse_head(NODE_HEAD),
        "read the node's head, new": lambda: heads.parse_head.__wrapped__(NODE_HEAD),
        "judge the whole answer": lambda: usage.complete_json(WHOLE),
        "count": lambda: metrics.request(record, 2.0),
        "write the access line": lambda: log.access(record, 2.0),
        "chunk: find its end": lambda: chunked.feed(chunk),
        "chunk: scan": lambda: scanner.feed(RECORD),
    }


async def main() -> None:
    """Measure and print."""
    for name, step in steps().items():
        took = min(timeit.repeat(step, number=LOOPS, repeat=ROUNDS)) / LOOPS
        sys.stdout.write(f"{name:34}{took * 1e6:8.2f} µs\n")


if __name__ == "__main__":
    uvloop.run(main())
