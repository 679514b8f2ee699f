"""Reading what a node says while it pulls a model: steps and bytes, bounded, never its words.

Ollama sends a record every 60 ms: `{"status":"pulling <12 hex>","digest":"sha256:…","total":n,
"completed":n}` for each layer, and a status of its own for every other step.

Pure: no clock, no database, no network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

import msgspec

MAX_LAYERS: Final = 64
"""Models have five to ten; what a node says beyond this is not shown."""

MAX_BYTES: Final = 2**62
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")


class Step(StrEnum):
    """What a pull is doing."""

    MANIFEST = "manifest"
    DOWNLOADING = "downloading"
    VERIFYING = "verifying"
    WRITING = "writing"
    CLEANING = "cleaning"
    DONE = "done"


_STEPS: Final = (
    ("pulling manifest", Step.MANIFEST),
    ("pulling ", Step.DOWNLOADING),
    ("verifying ", Step.VERIFYING),
    ("writing ", Step.WRITING),
    ("removing ", Step.CLEANING),
    ("success", Step.DONE),
)


class Record(msgspec.Struct, kw_only=True):
    """One line of a progress stream."""

    status: str = ""
    digest: str = ""
    total: int = 0
    completed: int = 0
    error: str | None = None


class Layer(msgspec.Struct, kw_only=True):
    """How far one file of a model is."""

    digest: str
    total_bytes: int = 0
    completed_bytes: int = 0


_decoder = msgspec.json.Decoder(Record)


def read_record(line: bytes) -> Record:
    """One line; raises msgspec.DecodeError for whatever Ollama would not say."""
    return _decoder.decode(line)


@dataclass(slots=True)
class Progress:
    """How far one pull is."""

    step: Step | None = None
    layers: dict[str, Layer] = field(default_factory=dict)

    def take(self, record: Record) -> None:
        """Go on by one record. A status that we do not know changes nothing."""
        self.step = next(
            (step for text, step in _STEPS if record.status.startswith(text)), self.step
        )
        if self.step is Step.DOWNLOADING and _DIGEST.fullmatch(record.digest):
            self._take_layer(record)

    def _take_layer(self, record: Record) -> None:
        layer = self.layers.get(record.digest)
        if layer is None:
            if len(self.layers) >= MAX_LAYERS:
                return
            layer = self.layers[record.digest] = Layer(digest=record.digest)
        layer.total_bytes = min(max(record.total, 0), MAX_BYTES // MAX_LAYERS)
        layer.completed_bytes = min(max(record.completed, 0), layer.total_bytes)

    @property
    def total_bytes(self) -> int:
        """Of the layers that the node has named so far."""
        return sum(layer.total_bytes for layer in self.layers.values())

    @property
    def completed_bytes(self) -> int:
        """What is on the node's disk of them."""
        return sum(layer.completed_bytes for layer in self.layers.values())
