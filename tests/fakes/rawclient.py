"""A TCP client that sends exactly the bytes it is told, when it is told, and reads when told.

async with RawClient.to(node.url) as raw:
    await raw.send(b"POST /api/chat HTTP/1.1\\r\\n", b"Host: x\\r\\n\\r\\n", pause_s=0.1)
    head = await raw.read_until(b"\\r\\n\\r\\n")
"""

import asyncio
import json
import socket
import struct
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

_READ_BYTES = 65_536
_DEADLINE_S = 5.0


class RawClient:
    """One connection."""

    def __init__(self, host: str, port: int, *, receive_buffer: int | None = None) -> None:
        """A small `receive_buffer` makes the window close soon when nothing is read."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._address = (host, port)
        self._socket = socket.socket(family, socket.SOCK_STREAM)
        self._socket.setblocking(False)
        if receive_buffer is not None:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self._unread = b""

    @classmethod
    def to(cls, url: str, *, receive_buffer: int | None = None) -> Self:
        """A client for the host and port of a URL."""
        parts = urlsplit(url)
        return cls(parts.hostname or "", parts.port or 80, receive_buffer=receive_buffer)

    async def __aenter__(self) -> Self:
        """Connect."""
        await asyncio.get_running_loop().sock_connect(self._socket, self._address)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self._socket.close()

    async def send(self, *pieces: bytes, pause_s: float = 0.0) -> None:
        """Send the pieces one by one, with a pause behind each."""
        loop = asyncio.get_running_loop()
        for piece in pieces:
            await loop.sock_sendall(self._socket, piece)
            await asyncio.sleep(pause_s)

    async def post(self, path: str, value: object, *headers: str) -> None:
        """One ordinary POST with a JSON body."""
        body = json.dumps(value).encode()
        host = f"Host: {self._address[0]}:{self._address[1]}"
        lines = (f"POST {path} HTTP/1.1", host, f"Content-Length: {len(body)}", *headers)
        await self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def half_close(self) -> None:
        """No more will be sent: a FIN, while reading goes on."""
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """Leave with a FIN (a RST if bytes are unread)."""
        self._socket.close()

    def reset(self) -> None:
        """Leave with a RST."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    async def read_until(self, mark: bytes, deadline_s: float = _DEADLINE_S) -> bytes:
        """Everything up to and with the mark, or up to the end if it never comes."""
        async with asyncio.timeout(deadline_s):
            while mark not in self._unread:
                if not (data := await self._receive()):
                    break
                self._unread += data
        end = self._unread.find(mark)
        end = len(self._unread) if end < 0 else end + len(mark)
        found, self._unread = self._unread[:end], self._unread[end:]
        return found

    async def read_all(self, deadline_s: float = _DEADLINE_S) -> bytes:
        """Everything up to the peer's FIN; a RST raises ConnectionResetError."""
        async with asyncio.timeout(deadline_s):
            while data := await self._receive():
                self._unread += data
        found, self._unread = self._unread, b""
        return found

    async def closed(self, deadline_s: float = _DEADLINE_S) -> bool:
        """Whether the peer closes, by FIN or RST, before the deadline."""
        try:
            await self.read_all(deadline_s)
        except ConnectionResetError:
            return True
        except TimeoutError:
            return False
        return True

    async def _receive(self) -> bytes:
        return await asyncio.get_running_loop().sock_recv(self._socket, _READ_BYTES)
