"""A node whose every answer is a list of steps, and which keeps every byte that it was sent.

async with ScriptedNode([head(), chunk(RECORD), wait(0.1), reset]) as node:
    ...  # node.url; node.received: bytes by connection; node.asked: requests, probes left out

A step is bytes, written as they stand, or something done. A script is one list of steps for all
requests, or says for each which: `in_turn([BUSY], [head(), *RECORDS, END])`, or a function of the
request. Probes are answered soundly. A body is read before the first step, unless `reads_body` is
false: then by `read_body` or `read(n)`, or never.

FakeOllama is the other fake: it thinks like a node, and speaks through a web server.
"""

import asyncio
import contextlib
import functools
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace, TracebackType
from typing import Final, Self

from fakes.tap import PROBES

MODEL: Final = "llama3.2:latest"
VERSION: Final = "0.33.0"
_LISTED: Final = {
    "name": MODEL,
    "model": MODEL,
    "digest": "a" * 64,
    "size": 1,
    "size_vram": 1,
    "modified_at": "2026-01-02T03:04:05Z",
    "expires_at": "2318-01-02T03:04:05Z",
}
ALIVE: Final = json.dumps({"version": VERSION, "models": [_LISTED]}).encode()


@dataclass(eq=False, slots=True)
class Asked:
    """One request: the number of its connection, its own on that, and its bytes."""

    connection: int
    question: int
    head: bytes
    body: bytes
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @property
    def length(self) -> int:
        """The Content-Length, 0 without one."""
        value = self.head.lower().partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
        return int(value or 0)


Step = bytes | Callable[[Asked], Awaitable[None]]
Script = Callable[[Asked], Sequence[Step]]


def in_turn(*scripts: Sequence[Step]) -> Script:
    """A script for each request in turn; the last one for all that follow."""
    left = list(scripts)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def head(status: str = "200 OK", *lines: str, framing: str = "Transfer-Encoding: chunked") -> bytes:
    """The head of an answer; with `framing` "Connection: close" its body ends with it."""
    kind = "Content-Type: application/x-ndjson"
    return "\r\n".join((f"HTTP/1.1 {status}", kind, framing, *lines, "", "")).encode()


def chunk(data: bytes) -> bytes:
    """One chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def whole(body: bytes, status: str = "200 OK") -> bytes:
    """An answer with its length."""
    return head(status, framing=f"Content-Length: {len(body)}") + body


END: Final = b"0\r\n\r\n"
BAD_CHUNK: Final = b"zz\r\nnot a chunk\r\n"
BUSY: Final = whole(
    b'{"error":"server busy, please try again.  maximum pending requests exceeded"}',
    "503 Service Unavailable",
)
FAILED: Final = whole(b'{"error":"llama runner process has terminated"}', "500 Internal Error")
ERROR_RECORD: Final = chunk(b'{"error":"an error was encountered while running the model"}\n')


def wait(seconds: float) -> Step:
    """Say nothing for a while, as a node that loads a model does."""

    async def step(_: Asked) -> None:
        await asyncio.sleep(seconds)

    return step


def until(event: asyncio.Event) -> Step:
    """Say nothing before something has happened."""

    async def step(_: Asked) -> None:
        await event.wait()

    return step


def read(size: int) -> Step:
    """Read that much of a body that is not read by itself."""

    async def step(asked: Asked) -> None:
        asked.body += await asked.reader.readexactly(size)

    return step


async def read_body(asked: Asked) -> None:
    """Read the rest of the body."""
    asked.body += await asked.reader.readexactly(asked.length - len(asked.body))


async def stall(_: Asked) -> None:
    """Say nothing more, and stay."""
    await asyncio.Event().wait()


async def reset(asked: Asked) -> None:
    """RST."""
    raw: socket.socket = asked.writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    asked.writer.transport.abort()


async def fin(asked: Asked) -> None:
    """FIN, behind what was written."""
    asked.writer.close()


class ScriptedNode:
    """Listens on a port that the kernel chose."""

    def __init__(self, script: Script | Sequence[Step], *, reads_body: bool = True) -> None:
        """Nothing listens before the `async with`."""
        self._script: Script = script if callable(script) else lambda _: script
        self._reads_body = reads_body
        self._server: asyncio.Server | None = None
        self._serving: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.node = SimpleNamespace(version=VERSION, requests=[])
        self.received: list[bytearray] = []
        self.asked: list[Asked] = []
        self.url = ""

    @property
    def bodies(self) -> list[bytes]:
        """What was asked, request by request."""
        return [each.body for each in self.asked]

    async def __aenter__(self) -> Self:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Cut every connection."""
        if self._server is not None:
            self._server.close()
        for serving, writer in self._serving.items():
            writer.transport.abort()
            serving.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _accept(self) -> asyncio.StreamReaderProtocol:
        reader = _Keeping()
        self.received.append(reader.kept)
        serve = functools.partial(self._serve, len(self.received) - 1)
        return asyncio.StreamReaderProtocol(reader, serve)

    async def _serve(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._serving[task] = writer
        # Only the end of the node cancels; Python 3.11's streams complain of a cancelled task.
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await self._converse(number, reader, writer)
        writer.close()

    async def _converse(
        self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        question = 0
        while not writer.is_closing():
            message = await reader.readuntil(b"\r\n\r\n")
            if message.partition(b"\r\n")[0] in PROBES:
                writer.write(whole(ALIVE))
                continue
            asked = Asked(number, question, message, b"", reader, writer)
            self.asked.append(asked)
            question += 1
            if self._reads_body:
                await read_body(asked)
            for step in self._script(asked):
                await (_say(step, writer) if isinstance(step, bytes) else step(asked))


class _Keeping(asyncio.StreamReader):
    """Keeps what comes, also what no step reads. Who does not read still holds its sender back."""

    def __init__(self) -> None:
        super().__init__()
        self.kept = bytearray()

    def feed_data(self, data: bytes) -> None:
        self.kept += data
        super().feed_data(data)


async def _say(data: bytes, writer: asyncio.StreamWriter) -> None:
    """In a packet of its own: the next step has its turn when this one is on its way."""
    writer.write(data)
    await writer.drain()
    await asyncio.sleep(0)
