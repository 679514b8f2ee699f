"""A restored backup has lower revisions than the data planes: a new epoch says so."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fakes.processes import eventually

if TYPE_CHECKING:
    from fakes.stack import Stack


def test_a_restored_backup_is_published_under_a_new_epoch(stack: Stack) -> None:
    kept = stack.serving_node("gemma3:latest")
    stack.database.back_up()
    lost = stack.serving_node("mistral:latest")
    assert stack.plane.models() == {"gemma3:latest", "mistral:latest"}
    epoch, _ = stack.plane.applied()

    stack.database.restore()

    eventually("a new epoch is applied", lambda: stack.plane.applied()[0] != epoch, 20)
    eventually("what was lost is lost", lambda: stack.plane.models() == {"gemma3:latest"}, 10)
    assert {node["id"] for node in stack.api.nodes()} == {kept.id}
    assert kept.id != lost.id
    stack.assert_a_change_is_applied()
