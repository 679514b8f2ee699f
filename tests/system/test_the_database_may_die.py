"""The data planes never ask the database: PostgreSQL may be killed under traffic."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fakes.canary import Canary
from fakes.marks import on_postgresql
from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack


@on_postgresql
def test_killing_the_database_costs_no_request(stack: Stack) -> None:
    """F52."""
    stack.serving_node()
    stack.serving_node()
    with Canary([stack.plane.port], MODEL) as canary:
        eventually("traffic flows", lambda: canary.served_since(0) > 10, 5)
        stack.database.kill()
        killed_at = time.monotonic()

        answer = stack.api.ask("GET", "/api/proxy/nodes")
        assert answer.status_code == 503
        assert answer.json()["code"] == "database_unavailable"
        eventually("served on", lambda: canary.served_since(killed_at) > 50, 10)

        stack.database.start()
        eventually(
            "the API is back, without a restart",
            lambda: stack.api.ask("GET", "/api/proxy/nodes").status_code == 200,
            10,
        )
        stack.assert_a_change_is_applied(within_s=15)
        canary.assert_unharmed(at_least=50)
