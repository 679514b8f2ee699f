"""nginx and haproxy as they read HTTP: what each takes some bytes for, request by request.

    with Front("nginx", directory) as front:
        requests = await front.read(b"GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")

Each passes on what it reads to an origin of ours, over a new connection for every request, so that
where it saw a request end is where its connection ends. Both are set to let through all they can.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from fakes.processes import eventually, free_port, is_listening
from fakes.readings import is_whole

if TYPE_CHECKING:
    from types import TracebackType

PROGRAMS: Final = ("nginx", "haproxy")
START_S: Final = 10.0
QUIET_S: Final = 0.15
"""Nothing more for this long, and the request has come; twice as long, and no other one will."""

PIECES_S: Final = 1.0
"""For the rest of a request of which a part has come: some are passed on while they arrive."""

LASTING_S: Final = 0.5
"""For a program to pass on the first request, or to refuse it."""
_FOLDERS: Final = "/usr/local/sbin:/usr/sbin:/sbin"
_UNPACKED: Final = Path(__file__).resolve().parents[2] / "var" / "bench" / "debian"
_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n"
    b"Connection: close\r\n\r\n{}"
)
_NGINX: Final = """
daemon off; master_process off; error_log stderr crit; pid {directory}/nginx.pid;
events {{ worker_connections 64; }}
http {{
  access_log off; underscores_in_headers on; ignore_invalid_headers off; merge_slashes off;
  client_body_temp_path {directory}/a; proxy_temp_path {directory}/b;
  fastcgi_temp_path {directory}/c; uwsgi_temp_path {directory}/d; scgi_temp_path {directory}/e;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{origin}; proxy_http_version 1.1;
      proxy_set_header Host $http_host; proxy_set_header Connection "";
      proxy_next_upstream off; proxy_read_timeout 2s;
    }}
  }}
}}
"""
_HAPROXY: Final = """
defaults
  mode http
  timeout connect 2s
  timeout client 2s
  timeout server 2s
  timeout http-request 2s
  option accept-invalid-http-request
frontend front
  bind 127.0.0.1:{port}
  default_backend origin
backend origin
  server origin 127.0.0.1:{origin}
"""


def program(name: str) -> str | None:
    """Where it is installed or `make bench` has unpacked it; None when it is not there."""
    return (
        shutil.which(name)
        or shutil.which(name, path=_FOLDERS)
        or shutil.which(name, path=str(_UNPACKED / "usr" / "sbin"))
    )


def version(name: str) -> str:
    """What it calls itself."""
    told = subprocess.run(
        [program(name) or name, "-v"],
        capture_output=True,
        text=True,
        check=True,
        env=_environment(),
    )
    return (told.stdout + told.stderr).splitlines()[0].strip()


class Front:
    """One of PROGRAMS, running in front of an origin that keeps what it is sent."""

    def __init__(self, name: str, directory: Path) -> None:
        self._name = name
        self._directory = directory
        self._port, self._origin_port = free_port(), free_port()
        self._arrived: list[bytes] = []
        self._process: subprocess.Popen[bytes] | None = None
        self._origin: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._origin = await asyncio.start_server(self._serve, "127.0.0.1", self._origin_port)
        config = self._directory / f"{self._name}.conf"
        template = _NGINX if self._name == "nginx" else _HAPROXY
        text = template.format(directory=self._directory, port=self._port, origin=self._origin_port)
        config.write_text(text, encoding="utf-8")
        option = "-c" if self._name == "nginx" else "-f"
        path = program(self._name)
        assert path is not None, f"{self._name} is not installed"
        self._process = subprocess.Popen([path, option, str(config)], env=_environment())
        await asyncio.to_thread(
            eventually, f"{self._name} listens", lambda: is_listening(self._port), START_S
        )
        await self.read(b"")  # what its being asked whether it listens has left
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        if self._origin is not None:
            self._origin.close()
            await self._origin.wait_closed()

    async def read(self, data: bytes, patience_s: float = LASTING_S) -> list[bytes]:
        """The requests that it takes these bytes of one client for, as it passes them on; within
        `patience_s` for the first.
        """
        self._arrived = []
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            writer.write(data)
            with contextlib.suppress(TimeoutError, ConnectionResetError):
                while True:
                    waits_s = 2 * QUIET_S if self._arrived or not data else patience_s
                    async with asyncio.timeout(waits_s):
                        if not await reader.read(65_536):
                            break
        finally:
            writer.transport.abort()
        return self._arrived

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received = b""
        with contextlib.suppress(TimeoutError, ConnectionResetError):
            while True:
                async with asyncio.timeout(QUIET_S if is_whole(received) else PIECES_S):
                    piece = await reader.read(65_536)
                if not piece:
                    break
                received += piece
        self._arrived.append(received)
        with contextlib.suppress(OSError):
            writer.write(_ANSWER)
            await writer.drain()
            writer.close()
            await writer.wait_closed()


def _environment() -> dict[str, str]:
    """With the libraries that came with what was unpacked."""
    folders = [str(path) for path in _UNPACKED.glob("usr/lib/*-linux-gnu*")]
    return {**os.environ, **({"LD_LIBRARY_PATH": ":".join(folders)} if folders else {})}
