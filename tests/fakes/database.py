"""The two databases that a stack can stand on, with the accidents that can befall each."""

from __future__ import annotations

import os
import secrets
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Protocol

from fakes import postgres
from psycopg import sql

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Database(Protocol):
    """What a stack needs of its database. One that is a server can be killed, too."""

    @property
    def url(self) -> str:
        """The value of DATABASE_URL."""

    def start(self) -> None:
        """Have it run, whatever has happened to it."""


class SqliteDatabase:
    """A file; it cannot be killed, only restored from an older copy."""

    def __init__(self, directory: Path) -> None:
        self._path = directory / "control.sqlite3"
        self._backup = directory / "backup.sqlite3"

    @property
    def url(self) -> str:
        """Four slashes: an absolute path."""
        return f"sqlite:///{self._path}"

    def start(self) -> None:
        """Always there."""

    def back_up(self) -> None:
        """Copy it while it is in use, as `sqlite3 .backup` does."""
        _copy(self._path, self._backup)

    def restore(self) -> None:
        """Put the copy back over the present state, in one transaction."""
        _copy(self._backup, self._path)


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)


class OwnPostgres:
    """A database on a server that we started: it is killed for good."""

    def __init__(self, server: postgres.PostgresServer) -> None:
        self._server = server
        self._is_down = False
        self.url = postgres.database_create(server.url, "system")

    def kill(self) -> None:
        """Stop the server at once, connections and all."""
        self._server.kill()
        self._is_down = True

    def start(self) -> None:
        """Start the server again."""
        if self._is_down:
            self._server.start()
            self._is_down = False


class NamedPostgres:
    """A database on somebody else's server: that is not ours to kill, but our database is."""

    def __init__(self, server_url: str) -> None:
        self._server_url = server_url
        self._name = f"aivonx_system_{secrets.token_hex(4)}"
        self.url = postgres.database_create(server_url, self._name)

    def kill(self) -> None:
        """Admit nobody and throw everybody out."""
        self._allow(is_open=False)
        statement = sql.SQL(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = {}"
        )
        postgres.run(self._server_url, statement.format(sql.Literal(self._name)))

    def start(self) -> None:
        """Admit again."""
        self._allow(is_open=True)

    def _allow(self, *, is_open: bool) -> None:
        statement = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        postgres.run(
            self._server_url,
            statement.format(sql.Identifier(self._name), sql.Literal(is_open)),
        )

    def drop(self) -> None:
        """Leave nothing on the server."""
        statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(self._name))
        postgres.run(self._server_url, statement)


@contextmanager
def open_database(kind: str, directory: Path) -> Iterator[Database]:
    """A new, empty database: `sqlite` or `postgresql`."""
    if kind == "sqlite":
        yield SqliteDatabase(directory)
        return
    if named := os.environ.get("TEST_DATABASE_URL", ""):
        database = NamedPostgres(named)
        try:
            yield database
        finally:
            database.drop()
        return
    with postgres.open_server() as server:
        yield OwnPostgres(server)
