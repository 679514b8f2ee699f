"""Microseconds of each step of one request and of one chunk, and of the whole, without the kernel.

Numbers of a loop over one step are lower than in life, where the steps drive each other out of the
processor's caches; their proportions hold. `run.py` measures what it costs in life. Measured is
what a data plane runs: what was compiled, or with `AIVONX_NATIVE=off` the sources.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
import tempfile
import timeit
from pathlib import Path
from typing import TYPE_CHECKING

from data_plane import native

native.use(os.environ)

import publish
import uvloop
from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpRequestParser
from lane import BODY, FLEET, RECORD, SNAPSHOT_KEY, STREAM_HEAD, Nowhere, chunk, made

from data_plane.admission.identify import Given, Identifier
from data_plane.protocol import ask, bodies, heads, matching, ndjson, usage
from data_plane.routing.choose import Rankings
from data_plane.sync.applied import build
from data_plane.telemetry.logs import Log
from data_plane.telemetry.metrics import Metrics
from data_plane.telemetry.record import Record
from data_plane.upstream.lease import Leases
from shared import credentials, wire
from shared.codes import Outcome
from shared.model_names import canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from lane import Lane

ROUNDS = 5
LOOPS = 5_000
WHOLE = b'{"model":"m","message":{"role":"assistant","content":"Rayleigh."},"done":true}'


def steps() -> dict[str, Callable[[], object]]:
    """What to measure, by name."""
    loop = asyncio.get_running_loop()
    minted = credentials.mint()
    sealed = wire.seal(publish.fleet(FLEET, [1] * FLEET, minted), SNAPSHOT_KEY)
    view = build(sealed, SNAPSHOT_KEY)
    parser = HttpRequestParser(BaseProtocol(loop), loop, 65_536, auto_decompress=False)
    request = (
        b"POST /api/chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    ) % (minted.text.encode(), len(BODY), BODY)
    route = matching.lookup("POST", "/api/chat").route
    given, identifier = (
        Given((f"Bearer {minted.text}",), ()),
        Identifier(is_key_always_required=True),
    )
    record = Record("req_1", "127.0.0.1", "POST", 1.0)
    record.route, record.model, record.node = "/api/chat", "m", "n"
    record.status, record.outcome, record.first_byte_at = 200, Outcome.OK, 1.5
    metrics, log = Metrics(), Log(Nowhere(), as_json=True, level="INFO")
    chunked, scanner = bodies.ChunkedBody(), ndjson.Scanner()
    framed = chunk(RECORD)
    leases, canonical = Leases(), canonical_name("m")
    rankings = Rankings(leases.journal, random.random)

    def one_more() -> None:
        choice = rankings.choose(view.pools, canonical, leases.counts, frozenset())
        leases.take(choice.node.id, 0.0).release()

    return {
        "parse the request (aiohttp, C)": lambda: parser.feed_data(request),
        "find the route": lambda: matching.lookup("POST", "/api/chat"),
        "judge the key": lambda: identifier.judge(
            view.keys, given, path_key=None, query="", address="127.0.0.1"
        ),
        "read the body's model and form": lambda: ask.parse(route, BODY, max_body_bytes=10**8),
        "choose a node, claim it, give it back": one_more,
        "read the node's head, known": lambda: heads.parse_head(STREAM_HEAD),
        "read the node's head, new": lambda: heads.parse_head.__wrapped__(STREAM_HEAD),
        "judge the whole answer": lambda: usage.complete_json(WHOLE),
        "count": lambda: metrics.request(record, 2.0),
        "write the access line": lambda: log.access(record, 2.0),
        "chunk: find its end": lambda: chunked.feed(framed),
        "chunk: scan": lambda: scanner.feed(RECORD),
    }


def wholes(lane: Lane) -> dict[str, Callable[[], object]]:
    """The lane as a whole, by name."""
    return {
        "finding the node that was asked (not ours)": lane.search,
        "a request": lane.request,
        "a request on a new connection": lane.request_of_a_new_client,
        "a chunk of a stream": lane.chunk,
    }


async def main(directory: Path) -> None:
    """Measure and print."""
    lane = await made(directory)
    for name, step in {**steps(), **wholes(lane)}.items():
        is_of_stream = step == lane.chunk
        if is_of_stream:
            lane.begin_stream()
        took = min(timeit.repeat(step, number=LOOPS, repeat=ROUNDS)) / LOOPS
        if is_of_stream:
            lane.end_stream()
        sys.stdout.write(f"{name:44}{took * 1e6:8.2f} µs\n")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as place:
        uvloop.run(main(Path(place)))
