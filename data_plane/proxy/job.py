"""One request on its way through the attempts, and how far it has come."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from data_plane.protocol.ask import Ask
    from data_plane.proxy.failures import Failure
    from data_plane.proxy.predictions import Prediction
    from data_plane.proxy.relay import Passage
    from data_plane.proxy.reply import Reply
    from data_plane.proxy.targets import Wish
    from data_plane.routing.events import Arrival, Choice
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.logs import Record
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.faults import NodeFailedError
    from data_plane.upstream.lease import Lease


class Job(msgspec.Struct, eq=False):
    """One request on its way through the attempts."""

    view: Applied
    ask: Ask
    fields: bytes
    """Header lines for the node."""

    record: Record
    reply: Reply
    closes: bool
    tried: set[str] = msgspec.field(default_factory=set)
    failures: set[Failure] = msgspec.field(default_factory=set)
    kept: tuple[NodeAnswer, bytes, str] | None = None
    """A 500 that is relayed if no other node does better, its body, and the node's id."""

    is_retrying: bool = False
    flight: Flight | None = None
    """The first attempt, when it was begun without waiting."""

    arrival: Arrival | None = None
    """What the policy was asked for, where the strategy predicts."""

    prediction: Prediction | None = None
    wish: Wish | None = None
    """Where to load or unload, if the query says so."""
    priority: int = 0
    position: int | None = None
    """How many were before it when it began to wait; None: it has not waited."""

    estimate_s: float = 0.0
    """What it was predicted to wait then."""


class Flight(msgspec.Struct, eq=False):
    """An attempt that no task waits for: it was sent by `Attempts.begin`, or (without `answer`) its
    node was claimed while its task waited for one.
    """

    choice: Choice
    lease: Lease
    answer: NodeAnswer | None
    passage: Passage
    error: NodeFailedError | None = None
    """How it failed, for the task that goes on."""


class Progress(Enum):
    """How far an attempt has come that no task waits for."""

    GOES_ON = auto()
    DONE = auto()
    """The client has its answer, and the node is free."""

    NEEDS_TASK = auto()
    """It takes waiting, or it failed: `serve` goes on from here."""
