"""Microseconds to read a node's answer: our parser beside aiohttp's and httptools', both in C.

    python tests/bench/parsers.py     httptools is measured where it is installed, else named absent

Each is fed what one read from the network gives: a whole answer at once, a stream chunk by chunk.
Each must give what the relay needs: status, fields by name, the lines that go on to a client, the
content, the end, and of a chunk that came alone that it did.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
import timeit
from typing import TYPE_CHECKING, Any

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http_parser import HttpResponseParser

from data_plane.protocol.bodies import body_of
from data_plane.protocol.headers import to_client
from data_plane.protocol.heads import encode_fields, parse_head

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 7
LOOPS = 2_000
CHUNKS = 200
RECORD = b'{"model":"m","message":{"role":"assistant","content":" the"},"done":false}\n'
CHUNK = b"%x\r\n%b\r\n" % (len(RECORD), RECORD)
LAST = b"0\r\n\r\n"
FIELDS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nDate: Mon, 23 Nov 2026 09:%b GMT\r\n"
)
SIZED = FIELDS + b"Content-Length: %d\r\n\r\n" % len(RECORD) + RECORD
CHUNKED = FIELDS + b"Transfer-Encoding: chunked\r\n\r\n"

Read = "Callable[[list[bytes]], None]"


def ours(pieces: list[bytes]) -> None:
    """As `upstream/connection` does it."""
    first = pieces[0]
    end = first.find(b"\r\n\r\n") + 4
    head = parse_head(first[:end])
    body = body_of(head)
    _ = head.status, head.passed, head.fields.get("content-type")
    if len(first) > end:
        _ = body.feed(first[end:])
    for piece in pieces[1:]:
        _ = body.feed(piece), body.is_whole
    assert body.done


def of_aiohttp(loop: asyncio.AbstractEventLoop) -> Callable[[list[bytes]], None]:
    """A parser per answer, as aiohttp's client has it; its reader gives the content."""
    protocol = BaseProtocol(loop)

    def read(pieces: list[bytes]) -> None:
        parser = HttpResponseParser(
            protocol,
            loop,
            65_536,
            auto_decompress=False,
            response_with_body=True,
            read_until_eof=True,
        )
        messages, _, _ = parser.feed_data(pieces[0])
        message, content = messages[0]
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in message.raw_headers]
        _ = message.code, encode_fields(to_client(pairs)), message.headers.get("Content-Type")
        if content.total_bytes:
            _ = content.read_nowait(-1)
        for piece in pieces[1:]:
            parser.feed_data(piece)
            if not content.is_eof():
                _ = content.read_nowait(-1)
        assert content.is_eof()

    return read


class Told:
    """What httptools calls back."""

    def __init__(self) -> None:
        self.pairs: list[tuple[str, str]] = []
        self.content: list[bytes] = []
        self.chunks = 0
        self.is_done = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A field."""
        self.pairs.append((name.decode(), value.decode("latin-1")))

    def on_body(self, content: bytes) -> None:
        """Content."""
        self.content.append(content)

    def on_chunk_complete(self) -> None:
        """The end of a chunk."""
        self.chunks += 1

    def on_message_complete(self) -> None:
        """The end."""
        self.is_done = True


def of_httptools(library: Any) -> Callable[[list[bytes]], None]:
    """A parser per answer: it does not remember heads."""

    def read(pieces: list[bytes]) -> None:
        told = Told()
        parser = library.HttpResponseParser(told)
        for number, piece in enumerate(pieces):
            parser.feed_data(piece)
            if not number:
                fields = {name.lower(): value for name, value in told.pairs}
                _ = parser.get_status_code(), fields.get("content-type")
                _ = encode_fields(to_client(told.pairs))
            told.content.clear()
        assert told.is_done

    return read


def best(read: Callable[[list[bytes]], None], answers: list[list[bytes]]) -> float:
    """Microseconds for one answer: the cheapest of some rounds."""

    def every() -> None:
        for answer in answers:
            read(answer)

    return min(timeit.repeat(every, repeat=ROUNDS, number=1)) / len(answers) * 1e6


def main() -> None:
    """Print the table."""
    loop = asyncio.new_event_loop()
    readers = {"ours": ours, "aiohttp": of_aiohttp(loop)}
    try:
        readers["httptools"] = of_httptools(importlib.import_module("httptools"))
    except ImportError:
        sys.stdout.write("httptools is absent: pip install httptools\n")
    known = [[SIZED % b"00:00"]] * LOOPS
    new = [[SIZED % (b"%02d:%02d" % divmod(n, 60))] for n in range(3_000)]
    stream = [[CHUNKED % b"00:00", *[CHUNK] * CHUNKS, LAST]] * 20
    sys.stdout.write(f"{'µs':12}{'head known':>12}{'head new':>12}{'a chunk':>12}\n")
    for name, read in readers.items():
        whole, first = best(read, known), best(read, new)
        chunk = (best(read, stream) - whole) / CHUNKS
        sys.stdout.write(f"{name:12}{whole:12.2f}{first:12.2f}{chunk:12.2f}\n")
    loop.close()


if __name__ == "__main__":
    main()
