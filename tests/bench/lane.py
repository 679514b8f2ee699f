"""The data plane between transports that only take note: its path without kernel and network.

What it costs here is what Python costs, warm. It repeats within a few percent, on a busy machine
too, which makes it the place to look at when a step is to become cheaper.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

import publish

from data_plane import settings as reading
from data_plane.app import App
from data_plane.proxy.server import Server
from data_plane.sync.applied import build
from data_plane.telemetry.logs import Log
from data_plane.upstream.connection import NodeConnection
from shared import credentials, wire
from shared.model_names import canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SNAPSHOT_KEY = b"the snapshot key of the benchmark"
FLEET = 50
BODY = b'{"model":"m","messages":[{"role":"user","content":"Why is the sky blue?"}],"stream":false}'
STREAMED_BODY = BODY.replace(b"false", b"true")
ANSWER = (
    b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":'
    b'"Rayleigh."},"done":true,"done_reason":"stop","total_duration":9,"load_duration":1,'
    b'"prompt_eval_count":10,"prompt_eval_duration":1,"eval_count":12,"eval_duration":5}'
)
RECORD = (
    b'{"model":"m","created_at":"2026-01-01T00:00:00Z","message":{"role":"assistant","content":'
    b'" the"},"done":false}\n'
)
LAST = ANSWER + b"\n"
NODE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
)


def chunk(record: bytes) -> bytes:
    """A record as a node writes it."""
    return b"%x\r\n%b\r\n" % (len(record), record)


class Nowhere:
    """A log's end."""

    dropped = 0

    def write(self, line: bytes) -> None:
        """Forget it."""

    def write_later(self, make: Callable[[], bytes]) -> None:
        """Make it, as it is part of the path."""
        make()

    def close(self) -> None:
        """Nothing is left."""


class Ear(asyncio.Transport):
    """Remembers what was written last."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1)})
        self.heard = b""

    def write(self, data: bytes) -> None:
        """Remember it."""
        self.heard = data

    def is_closing(self) -> bool:
        """Never."""
        return False

    def close(self) -> None:
        """Stay open."""

    abort = pause_reading = resume_reading = close


class Lane:
    """A data plane, one client connection, and a standing connection to each node."""

    def __init__(self, directory: Path) -> None:
        environ = {
            "REDIS_URL": "redis://127.0.0.1:1/0",  # never asked
            "AIVONX_SNAPSHOT_KEY": SNAPSHOT_KEY.decode(),
            "AIVONX_DATA_DIR": str(directory),
        }
        self.app = App(reading.load(environ), Log(Nowhere(), as_json=True, level="INFO"))
        key = credentials.mint()
        view = build(wire.seal(publish.fleet(FLEET, [1] * FLEET, key), SNAPSHOT_KEY), SNAPSHOT_KEY)
        self.app.state.current = view
        self._due: list[Callable[[], None]] = []
        self.app.handler._call_soon = self._in_the_next_turn
        self._server = Server(self.app.handler)
        self._nodes = [self._standing(node) for node in view.pools.nodes.values()]
        self._whole = self._request(BODY, key.text)
        self._streamed = self._request(STREAMED_BODY, key.text)
        self._answer = NODE_HEAD % len(ANSWER) + ANSWER
        self._chunk, self._end = chunk(RECORD), chunk(LAST) + b"0\r\n\r\n"
        self.client, self.ear = self.connected()
        self._speaking = self._nodes[0][0]

    @staticmethod
    def _request(body: bytes, key: str) -> bytes:
        return (
            b"POST /api/chat HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %b\r\n"
            b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        ) % (key.encode(), len(body), body)

    def _standing(self, node: object) -> tuple[NodeConnection, Ear]:
        pool = self.app.forwarder._target(node).pool
        ear, connection = Ear(), NodeConnection(pool.rests, self.app.forwarder._outbox)
        connection.connection_made(ear)
        pool.rests(connection, True)
        # It has the model in memory as far as we know: nobody goes and looks.
        self.app.findings._loaded_names[node.id] = frozenset({canonical_name("m")})
        return connection, ear

    def connected(self) -> tuple[object, Ear]:
        """One more client."""
        connection, ear = self._server(), Ear()
        connection.connection_made(ear)
        return connection, ear

    def begin(self, client: object) -> None:
        """A chat that is not streamed, as far as it goes in the turn in which it comes."""
        client.data_received(self._whole)

    def _in_the_next_turn(self, call: Callable[..., None], *words: object) -> None:
        self._due.append(partial(call, *words))

    def turn(self) -> bool:
        """The next turn of the loop. Whether there was anything to do."""
        due, self._due = self._due, []
        for each in due:
            each()
        return bool(due)

    def turns(self) -> None:
        """Until there is nothing left to do."""
        while self.turn():
            pass

    def asked_count(self) -> int:
        """How many nodes were written to."""
        return sum(bool(ear.heard) for _, ear in self._nodes)

    def _asked(self) -> NodeConnection:
        """The node that was written to."""
        self.turns()
        for connection, ear in self._nodes:
            if ear.heard:
                ear.heard = b""
                return connection
        raise RuntimeError("no node was asked")

    def request(self, client: object = None) -> None:
        """A chat that is not streamed, from the first byte to the access line."""
        (client or self.client).data_received(self._whole)
        self._asked().data_received(self._answer)
        self._server.outbox.flush()

    def request_of_a_new_client(self) -> None:
        """The same on a connection that begins and ends with it."""
        client, _ = self.connected()
        self.request(client)
        client.connection_lost(None)

    def begin_stream(self) -> None:
        """A streamed chat, up to its first record."""
        self.client.data_received(self._streamed)
        self._speaking = self._asked()
        self._speaking.data_received(STREAM_HEAD + self._chunk)

    def chunk(self) -> None:
        """One record of it."""
        self._speaking.data_received(self._chunk)

    def end_stream(self) -> None:
        """Its last record."""
        self._speaking.data_received(self._end)
        self.turns()

    def search(self) -> None:
        """What finding the asked node costs, which is the benchmark's own."""
        for _, ear in self._nodes[: FLEET // 2]:
            if ear.heard:
                return


async def made(directory: Path) -> Lane:
    """A lane whose connections are ready."""
    lane = Lane(directory)
    await asyncio.sleep(0)
    lane.request()
    if b'"done":true' not in lane.ear.heard:
        raise RuntimeError(f"no answer: {lane.ear.heard!r}")
    return lane
