"""An operator asks where the next request goes; then it goes there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack


def test_it_goes_where_it_was_said_to_go(stack: Stack) -> None:
    nodes = {node.id: node for node in (stack.serving_node(), stack.serving_node())}
    for node in nodes.values():
        node.pace(token_s=0.05)
    stack.api.config_change(strategy="least_active")
    stack.await_applied()
    with stack.plane.stream(600) as stream:
        stream.read_records(1)
        said = stack.api.explain(MODEL)
        assert (said["outcome"], said["strategy"]) == ("sent", "least_active")
        chosen = nodes[said["node_id"]]
        assert chosen.active() == 0
        before = chosen.served()
        assert stack.plane.chat(MODEL).status_code == 200
        assert chosen.served() == before + 1
        assert said["node"] in said["sentence"]
    chosen.kill()
    eventually(
        "the node that is gone is named with the reason",
        lambda: _bar(stack, chosen.id) in {"down", "standby"},
        15,
    )
    assert stack.api.explain(MODEL)["node_id"] != chosen.id


def _bar(stack: Stack, node_id: str) -> str | None:
    rows = stack.api.explain(MODEL)["candidates"]
    return next((row["bar"] for row in rows if row["node_id"] == node_id), None)
