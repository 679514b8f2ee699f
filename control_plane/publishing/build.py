"""The snapshot as the database has it now. Reads only.

The revision is read first: what is read after it is at least as new as the number says. Read the
other way round, a snapshot could carry a number whose change it lacks, and nobody would publish
that change again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from control_plane.accounts.selectors import keys_for_snapshot
from control_plane.nodes.inventory import available_entries, loaded_models, model_of
from control_plane.nodes.selectors import nodes_for_snapshot
from control_plane.proxy_config.selectors import proxy_config_current
from control_plane.revisions.selectors import revision_current
from shared.snapshot import AvailableModel, Node, Snapshot, Verdict

if TYPE_CHECKING:
    from shared.snapshot import Model


class ModelTable:
    """Every distinct model once, in the order of first appearance."""

    def __init__(self) -> None:
        self._places: dict[bytes, int] = {}

    def place(self, entry: bytes) -> int:
        """The index of a model, given as the bytes in which inventories keep it."""
        return self._places.setdefault(entry, len(self._places))

    def models(self) -> tuple[Model, ...]:
        """The table. Decoded here, so that a model on a thousand nodes is decoded once."""
        return tuple(model_of(entry) for entry in self._places)


def snapshot_build() -> Snapshot:
    """The whole state."""
    epoch, revision = revision_current()
    table = ModelTable()
    nodes = tuple(_node(row, table) for row in nodes_for_snapshot())
    return Snapshot(
        epoch=epoch,
        revision=revision,
        built_at=time.time(),
        config=proxy_config_current(),
        models=table.models(),
        nodes=nodes,
        keys=tuple(keys_for_snapshot()),
    )


def _node(row: Any, table: ModelTable) -> Node:
    return Node(
        id=str(row.id),
        name=row.name,
        address=row.address,
        wished=row.active,
        verdict=Verdict(row.health),
        reason=row.health_reason,
        weight=row.weight,
        max_parallel=row.max_parallel,
        version=row.version,
        sealed_token=row.sealed_token,
        available=tuple(
            AvailableModel(table.place(entry), modified_at)
            for entry, modified_at in available_entries(row.inventory__available or "[]")
        ),
        loaded=loaded_models(row.inventory__loaded or "[]"),
    )
