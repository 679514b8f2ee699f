"""A client that sees every byte: whether an answer ended cleanly is decided by the framing alone.

Client libraries hide what matters here (was there a final chunk? did the connection break?), so
this one speaks HTTP/1.1 over a plain socket, one request per connection.
"""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

READ_BYTES: Final = 65_536
FINAL_CHUNK: Final = b"0\r\n\r\n"


class RawStream:
    """One POST and what came back, byte by byte."""

    def __init__(
        self,
        port: int,
        path: str,
        body: dict[str, object],
        *,
        key: str = "",
        timeout_s: float = 30.0,
    ) -> None:
        self.received = b""
        self.has_ended = False
        self.was_reset = False
        self._timeout_s = timeout_s
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=timeout_s)
        payload = json.dumps(body).encode()
        credential = f"Authorization: Bearer {key}\r\n" if key else ""
        self._socket.sendall(
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{credential}"
            f"Content-Type: application/json\r\nContent-Length: {len(payload)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + payload
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Leave, finished or not."""
        self._socket.close()

    def read_until(self, mark: bytes) -> None:
        """Read until the mark was received; AssertionError when the answer ends before it."""
        self._read(lambda: mark in self.received)
        assert mark in self.received, f"the answer ended without {mark!r}: {self.received!r}"

    def read_records(self, count: int) -> None:
        """Read until that many lines of the body were received."""
        self._read(lambda: self.body.count(b"\n") >= count)
        assert self.body.count(b"\n") >= count, f"the answer ended early: {self.received!r}"

    def read_to_end(self) -> None:
        """Read until the answer is complete or the connection is gone."""
        self._read(lambda: self.is_complete)

    def _read(self, is_enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while not is_enough() and not self.has_ended:
            assert time.monotonic() < deadline, f"silence after {self.received[-200:]!r}"
            try:
                data = self._socket.recv(READ_BYTES)
            except ConnectionResetError:
                self.was_reset = True
                data = b""
            self.has_ended = not data
            self.received += data

    @property
    def head(self) -> str:
        """Status line and headers."""
        return self.received.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def status(self) -> int:
        """The status code; 0 when none arrived."""
        words = self.head.split(" ", 2)
        return int(words[1]) if len(words) > 1 else 0

    def header(self, name: str) -> str:
        """The value of a header, "" when it is missing."""
        for line in self.head.splitlines()[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return ""

    @property
    def is_chunked(self) -> bool:
        """Whether the end is marked by a final chunk."""
        return self.header("Transfer-Encoding").lower() == "chunked"

    @property
    def is_complete(self) -> bool:
        """Whether the framing says that the whole answer arrived."""
        head, separator, rest = self.received.partition(b"\r\n\r\n")
        if not head or not separator:
            return False
        if self.is_chunked:
            return rest.endswith(FINAL_CHUNK)
        length = self.header("Content-Length")
        return bool(length) and len(rest) >= int(length)

    @property
    def body(self) -> bytes:
        """The body so far, chunk framing taken off."""
        rest = self.received.partition(b"\r\n\r\n")[2]
        return _unchunk(rest) if self.is_chunked else rest

    @property
    def records(self) -> list[dict[str, object]]:
        """The complete lines of an NDJSON body."""
        complete = self.body.rpartition(b"\n")[0] if self.is_chunked else self.body
        return [json.loads(line) for line in complete.splitlines() if line.strip()]


def _unchunk(data: bytes) -> bytes:
    body = b""
    while data:
        size_line, newline, rest = data.partition(b"\r\n")
        if not newline:
            break
        size = int(size_line.partition(b";")[0], 16)
        body += rest[:size]
        data = rest[size + 2 :]
    return body
