"""The backend that `config.env` names as ENGINE.

Django lets psycopg's pool check each connection as it is taken. After a restart of the server all
of them are dead, and the pool finds that out one by one with growing pauses: requests fail for
several seconds although the server is back. Here one dead connection is enough to replace them all.
"""

from __future__ import annotations

from typing import Any

import psycopg
from django.db.backends.postgresql import base
from psycopg_pool import ConnectionPool


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, but for how a connection is taken out of the pool."""

    def get_new_connection(self, conn_params: dict[str, Any]) -> Any:
        """Take a connection that answers. Raises within the time-out of the pool."""
        connection = super().get_new_connection(conn_params)
        if self.pool is None or _answers(connection):
            return connection
        self.pool.putconn(connection)
        self.pool.drain()
        return super().get_new_connection(conn_params)


def _answers(connection: psycopg.Connection[Any]) -> bool:
    try:
        ConnectionPool.check_connection(connection)
    except psycopg.Error:
        return False
    return True
