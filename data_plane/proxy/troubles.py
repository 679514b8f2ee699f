"""What nodes do wrong with single models: told to the circuits per pair, the log and the metrics.

Certain, one is enough: the node says that it cannot load the model, or its load hangs.
Uncertain, three in a row without a whole answer: another 500 that was no fault of the request (for
another node answered it), a runner that dies within an answer, an answer that breaks or falls
silent. No fault of the model: 503, slowness, no connection.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Final

from data_plane.upstream.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.routing.model_circuit import ModelCircuits
    from data_plane.routing.pools import Pools
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics

CANNOT_LOAD: Final = (
    b"out of memory",
    b"failed to allocate",
    b"cudamalloc failed",
    b"unable to load",
    b"error loading model",
    b"timed out waiting for",
    b"may be incompatible with your version",
    b"model requires",
)
"""What Ollama's 500 says when a model does not come up, in lower case."""

LOAD_HANGS: Final = "load_hangs"
CANNOT_LOAD_IT: Final = "cannot_load"
FAILS_ALONE: Final = "fails_alone"
RUNNER_FAILS: Final = "runner_fails"

OF_THE_MODEL: Final = frozenset(
    {
        Fault.NO_ANSWER,
        Fault.BAD_HTTP,
        Fault.BROKEN,
        Fault.BAD_FRAMING,
        Fault.GIVEN_UP,
        Fault.STALLED,
    }
)
"""Faults that may be those of a runner. What a dead node breaks is told apart by its circuit."""


class Troubles:
    """One per process."""

    def __init__(
        self, models: ModelCircuits, log: Log, metrics: Metrics, now: Callable[[], float]
    ) -> None:
        """`now` is the loop's clock."""
        self.models = models
        self._log = log
        self._metrics = metrics
        self._now = now
        self._names: dict[str, str] = {}

    def use(self, pools: Pools) -> None:
        """A new snapshot is in force."""
        self.models.keep(pools.nodes.keys(), pools.models.keys())
        self._names = {node.id: node.name for node in pools.nodes.values()}

    def note(self, node_id: str, model: str, reason: str, *, is_certain: bool = False) -> None:
        """A node failed with a model (its canonical name)."""
        if self.models.failed(
            node_id, model, self._now(), random.random, reason=reason, is_certain=is_certain
        ):
            self._moved(node_id, model, "open", reason)

    def note_500(self, node_id: str, model: str, body: bytes) -> None:
        """A 500 that may say that the model cannot be loaded; anything else it says is not told of
        here.
        """
        words = body.lower()
        if any(sign in words for sign in CANNOT_LOAD):
            self.note(node_id, model, CANNOT_LOAD_IT, is_certain=True)

    def note_fault(self, node_id: str, model: str, fault: Fault) -> None:
        """An attempt failed."""
        if fault in OF_THE_MODEL:
            self.note(node_id, model, fault)

    def note_answered(self, node_id: str, model: str) -> None:
        """A whole answer."""
        if self.models.answered(node_id, model, self._now()):
            self._moved(node_id, model, "closed", "it answered")

    def _moved(self, node_id: str, model: str, to: str, reason: str) -> None:
        self._metrics.model_transition(to)
        self._log.warning(
            "model_circuit",
            node=self._names.get(node_id, ""),
            node_id=node_id,
            model=model,
            to=to,
            reason=reason,
        )
