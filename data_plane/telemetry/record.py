"""What is known of one request: made before anything can fail, it ends as one access line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.codes import ErrorCode, Outcome


class Record:
    """What is known of one request. Texts are empty and numbers 0 while nothing is known."""

    __slots__ = (
        "answer_tokens",
        "attempts",
        "bytes_in",
        "bytes_out",
        "client",
        "code",
        "detail",
        "dialect",
        "first_byte_at",
        "is_stream",
        "key_id",
        "method",
        "model",
        "node",
        "node_id",
        "outcome",
        "path",
        "prompt_tokens",
        "reason",
        "request_id",
        "route",
        "started_at",
        "status",
        "waited_s",
    )

    def __init__(self, request_id: str, client: str, method: str, started_at: float) -> None:
        self.request_id = request_id
        self.client = client
        self.method = method
        self.started_at = started_at
        """On the loop's clock, as `first_byte_at` is."""

        self.path = ""
        """As it came, where no route was found for it."""

        self.route = ""
        self.dialect = ""
        self.model = ""
        self.key_id = ""
        self.node = ""
        self.node_id = ""
        self.reason = ""
        self.attempts = 0
        self.status = 0
        self.code: ErrorCode | None = None
        self.outcome: Outcome | None = None
        self.is_stream = False
        self.first_byte_at = 0.0
        self.bytes_in = 0
        self.bytes_out = 0
        self.prompt_tokens: int | None = None
        self.answer_tokens: int | None = None
        self.detail = ""
        self.waited_s = 0.0
        """For a slot, before it was sent to a node."""

    def part(self) -> Record:
        """The record of a further request for the same client, which gets no line of its own."""
        record = Record(self.request_id, self.client, self.method, self.started_at)
        record.route, record.dialect = self.route, self.dialect
        record.model, record.key_id = self.model, self.key_id
        record.is_stream = self.is_stream
        return record
