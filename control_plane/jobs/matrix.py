"""Models x nodes: where each model is, what is being done to it, and where versions differ.

One row per model, one cell per node. A cell's state is the first that fits:

    pulling    an open pull at this node (with percent)
    loading    an open load
    loaded     in the node's memory
    on_disk    on its disk
    absent     neither

What others do to a node (a pull by its own command line) shows when it is done: Ollama lists no
downloads and no loads under way.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from control_plane.jobs.selectors import parts_open, percent
from control_plane.nodes.inventory import available_models, loaded_models
from control_plane.nodes.orders import Kind
from shared.model_names import ModelName

if TYPE_CHECKING:
    import uuid
    from collections.abc import Iterable

    from control_plane.jobs.models import JobPart
    from control_plane.nodes.models import Node
    from shared.snapshot import LoadedModel, Model


class Place(StrEnum):
    """Where a model is at a node."""

    ABSENT = "absent"
    ON_DISK = "on_disk"
    LOADED = "loaded"
    LOADING = "loading"
    PULLING = "pulling"


PLACES: Final = tuple((place.value, place.value) for place in Place)


@dataclass(slots=True)
class _Cell:
    disk: Model | None = None
    modified_at: str = ""
    memory: LoadedModel | None = None
    part: JobPart | None = None

    @property
    def place(self) -> Place:
        if self.part is not None and self.part.job.kind == Kind.PULL:
            return Place.PULLING
        if self.part is not None and self.part.job.kind == Kind.LOAD:
            return Place.LOADING
        if self.memory is not None:
            return Place.LOADED
        return Place.ON_DISK if self.disk is not None else Place.ABSENT


@dataclass(slots=True)
class Row:
    """One model."""

    canonical: str
    cells: dict[uuid.UUID, _Cell] = field(default_factory=dict)

    @property
    def display(self) -> str:
        """The name as Ollama shows it."""
        return ModelName.parse(self.canonical).display

    def cell(self, node_id: uuid.UUID) -> _Cell:
        """Its cell at this node."""
        return self.cells.setdefault(node_id, _Cell())

    @property
    def digests(self) -> Counter[str]:
        """How many nodes have which version."""
        return Counter(cell.disk.digest for cell in self.cells.values() if cell.disk)

    @property
    def has_drift(self) -> bool:
        """Whether nodes have different versions under this name."""
        return len(self.digests) > 1

    @property
    def places(self) -> set[Place]:
        """Where it is at some node."""
        return {cell.place for cell in self.cells.values()}


def rows_now(nodes: Iterable[Node]) -> list[Row]:
    """The rows of all models that these nodes hold, or that are on their way, by canonical name."""
    rows: dict[str, Row] = {}
    wanted = set()
    for node in nodes:
        wanted.add(node.pk)
        if not hasattr(node, "inventory"):
            continue
        for model, modified_at in available_models(node.inventory.available):
            cell = _row(rows, model.canonical).cell(node.pk)
            cell.disk, cell.modified_at = model, modified_at
        for loaded in loaded_models(node.inventory.loaded):
            _row(rows, loaded.canonical).cell(node.pk).memory = loaded
    for part in parts_open():
        if part.node_id in wanted:
            _row(rows, part.canonical).cell(part.node_id).part = part
    return [rows[name] for name in sorted(rows)]


def _row(rows: dict[str, Row], canonical: str) -> Row:
    return rows.setdefault(canonical, Row(canonical))


def row_public(row: Row, nodes: Iterable[Node]) -> dict[str, Any]:
    """A row as JSON, with a cell for every node, in the order of the nodes."""
    digests = row.digests
    usual = max(digests, key=lambda digest: (digests[digest], digest), default="")
    empty = _Cell()
    return {
        "model": row.display,
        "canonical": row.canonical,
        "has_drift": row.has_drift,
        "digests": dict(sorted(digests.items())),
        "nodes": [_cell_public(row.cells.get(node.pk, empty), node, usual) for node in nodes],
    }


def _cell_public(cell: _Cell, node: Node, usual: str) -> dict[str, Any]:
    public: dict[str, Any] = {"node_id": str(node.pk), "node": node.name, "state": cell.place}
    if cell.disk is not None:
        public |= {
            "digest": cell.disk.digest,
            "drifts": cell.disk.digest != usual,
            "size_bytes": cell.disk.size_bytes,
            "modified_at": cell.modified_at,
        }
    if cell.memory is not None:
        public["loaded"] = {
            "size_bytes": cell.memory.size_bytes,
            "size_vram_bytes": cell.memory.size_vram_bytes,
            "context_length": cell.memory.context_length,
            "expires_at": cell.memory.expires_at,
        }
    if cell.part is not None:
        public["job"] = {
            "id": str(cell.part.job_id),
            "kind": cell.part.job.kind,
            "state": cell.part.state,
            "percent": percent(cell.part.completed_bytes, cell.part.total_bytes),
        }
    return public
