"""One request on its way through the attempts, and how far it has come."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from data_plane.protocol.asks import Ask
    from data_plane.proxy.failures import Failure
    from data_plane.proxy.predictions import Prediction
    from data_plane.proxy.relay import Passage
    from data_plane.proxy.reply import Reply
    from data_plane.proxy.targets import Wish
    from data_plane.routing.choose import Choice
    from data_plane.routing.events import Arrival
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.record import Record
    from data_plane.upstream.answer import NodeAnswer
    from data_plane.upstream.faults import NodeFailedError
    from data_plane.upstream.lease import Lease


class Job:
    """One request on its way through the attempts."""

    __slots__ = (
        "arrival",
        "ask",
        "closes",
        "estimate_s",
        "failures",
        "fields",
        "flight",
        "is_retrying",
        "kept",
        "position",
        "prediction",
        "priority",
        "record",
        "reply",
        "tried",
        "view",
        "wish",
    )

    def __init__(  # noqa: PLR0913 - what the parts of a request have in common
        self,
        *,
        view: Applied,
        ask: Ask,
        fields: bytes,
        record: Record,
        reply: Reply,
        closes: bool,
        wish: Wish | None,
        priority: int,
    ) -> None:
        self.view = view
        self.ask = ask
        self.fields = fields
        """Header lines for the node."""

        self.record = record
        self.reply = reply
        self.closes = closes
        self.wish = wish
        """Where to load or unload, if the query says so."""

        self.priority = priority
        self.tried: set[str] = set()
        self.failures: set[Failure] = set()
        self.kept: tuple[NodeAnswer, bytes, str] | None = None
        """A 500 that is relayed if no other node does better, its body, and the node's id."""

        self.is_retrying = False
        self.flight: Flight | None = None
        """The first attempt, when it was begun without waiting."""

        self.arrival: Arrival | None = None
        """What the policy was asked for, where the strategy predicts."""

        self.prediction: Prediction | None = None
        self.position: int | None = None
        """How many were before it when it began to wait; None: it has not waited."""

        self.estimate_s = 0.0
        """What it was predicted to wait then."""

    def part(self, ask: Ask, record: Record) -> Job:
        """One more request for the same client, of which nothing has been tried yet."""
        return Job(
            view=self.view,
            ask=ask,
            fields=self.fields,
            record=record,
            reply=self.reply,
            closes=self.closes,
            wish=self.wish,
            priority=self.priority,
        )


class Flight:
    """An attempt that no task waits for: it was sent by `Attempts.begin`, or (without `answer`) its
    node was claimed while its task waited for one.
    """

    __slots__ = ("answer", "choice", "error", "lease", "passage")

    def __init__(
        self, choice: Choice, lease: Lease, answer: NodeAnswer | None, passage: Passage
    ) -> None:
        self.choice = choice
        self.lease = lease
        self.answer = answer
        self.passage = passage
        self.error: NodeFailedError | None = None
        """How it failed, for the task that goes on."""


class Progress(Enum):
    """How far an attempt has come that no task waits for."""

    GOES_ON = auto()
    DONE = auto()
    """The client has its answer, and the node is free."""

    NEEDS_TASK = auto()
    """It takes waiting, or it failed: `serve` goes on from here."""
