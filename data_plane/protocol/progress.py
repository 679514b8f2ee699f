"""What several nodes say of one order, told to the client as one Ollama server would tell it.

A client draws a bar for each digest and takes `{"status":"success"}` for the end. So for each
digest the totals of all nodes are added up, and what is done of them, which never goes back; a
phase is told once, when every node that still works has come to it, the first one at once; and the
end is told by whoever knows that all have ended.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import msgspec

SUCCESS: Final = "success"
MAX_LAYERS: Final = 4_096
MAX_PHASES: Final = 1_024
"""Of one order. A node that names more is not believed; what it names beyond is not told."""


class Record(msgspec.Struct, omit_defaults=True):
    """One line of a node's progress. Sizes in bytes."""

    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0
    error: str = ""


class LeftOutRecord(Record):
    """A line of ours that names nodes that the order was meant for and did not go to."""

    left_out: tuple[str, ...] = ()


class BadRecordError(ValueError):
    """A line that is no progress."""


_decode: Final = msgspec.json.Decoder(Record).decode
_encode: Final = msgspec.json.Encoder().encode


def read_record(line: bytes) -> Record:
    """A line of a node's answer. Raises BadRecordError."""
    try:
        return _decode(line)
    except msgspec.DecodeError as error:
        msg = "a line of progress that cannot be read"
        raise BadRecordError(msg) from error


def line_of(record: Record) -> bytes:
    """A line of ours."""
    return _encode(record) + b"\n"


@dataclass(slots=True)
class _Layer:
    status: str
    completed: list[int]
    """By node."""

    total: int = 0
    told: int = 0
    is_news: bool = True


@dataclass(slots=True)
class Progress:
    """The progress of one order at `nodes` nodes, which are numbered from 0."""

    nodes: int
    _layers: dict[str, _Layer] = field(default_factory=dict)
    _phases: dict[str, set[int]] = field(default_factory=dict)
    """Phases that were not told yet, with the nodes that have come to them."""

    _told: set[str] = field(default_factory=set)
    _gone: set[int] = field(default_factory=set)
    """Nodes of which nothing more is expected."""

    _done: set[int] = field(default_factory=set)
    """Of these, the ones that have all layers, whether they told of them or not."""

    def take(self, node: int, record: Record) -> None:
        """A node has said this."""
        if record.digest:
            self._take_layer(node, record)
        elif record.status == SUCCESS:
            self._gone.add(node)
            self._done.add(node)
            for layer in self._layers.values():
                layer.is_news = True
        elif record.status and record.status not in self._told and self._has_room_for_phase:
            self._phases.setdefault(record.status, set()).add(node)

    def leave(self, node: int) -> None:
        """A node has failed: what it has come to counts no more."""
        self._gone.add(node)

    def news(self) -> list[bytes]:
        """Lines for the client: what has changed since the last call."""
        first = [] if self._told else self._phases_at(None)
        layers = [self._line(*each) for each in self._layers.items() if each[1].is_news]
        return first + layers + self._phases_at(set(range(self.nodes)) - self._gone)

    def _phases_at(self, expected: set[int] | None) -> list[bytes]:
        """Phases in their order, as far as all expected nodes have come; None: the first one."""
        lines = []
        for phase, nodes in list(self._phases.items()):
            if expected is not None and not expected <= nodes:
                break
            del self._phases[phase]
            self._told.add(phase)
            lines.append(line_of(Record(status=phase)))
            if expected is None:
                break
        return lines

    @property
    def _has_room_for_phase(self) -> bool:
        return len(self._phases) + len(self._told) < MAX_PHASES

    def _take_layer(self, node: int, record: Record) -> None:
        layer = self._layers.get(record.digest)
        if layer is None:
            if len(self._layers) >= MAX_LAYERS:
                return
            layer = self._layers[record.digest] = _Layer(record.status, [0] * self.nodes)
        layer.total = max(layer.total, record.total)
        layer.completed[node] = max(layer.completed[node], min(record.completed, layer.total))
        layer.is_news = True

    def _line(self, digest: str, layer: _Layer) -> bytes:
        layer.is_news = False
        completed = sum(
            layer.total if node in self._done else done for node, done in enumerate(layer.completed)
        )
        layer.told = max(layer.told, completed)
        return line_of(
            Record(
                status=layer.status,
                digest=digest,
                total=layer.total * self.nodes,
                completed=layer.told,
            )
        )
