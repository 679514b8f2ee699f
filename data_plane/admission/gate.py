"""Whether there is room: the memory that request bodies may take together, and the retry budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from data_plane.settings import RETRY_BUDGET, RETRY_BUDGET_MINIMUM

if TYPE_CHECKING:
    from types import TracebackType


class NoRoomError(Exception):
    """The bodies held at this moment leave no room for this one."""


class BodyClaim:
    """The bytes that one request holds. A context manager, so that they always come back."""

    __slots__ = ("_gate", "_size")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._size = 0

    def grow_to(self, size: int) -> None:
        """Claim up to `size` bytes in total. Raises NoRoomError."""
        further = size - self._size
        if further <= 0:
            return
        if self._gate.body_bytes + further > self._gate.body_budget_bytes:
            raise NoRoomError
        self._gate.body_bytes += further
        self._size = size

    def release(self) -> None:
        """Give them back; a second call does nothing."""
        self._gate.body_bytes -= self._size
        self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


class Gate:
    """What all requests of this process share."""

    def __init__(self, body_budget_bytes: int) -> None:
        self.body_budget_bytes = body_budget_bytes
        self.body_bytes = 0
        self.in_flight = 0
        self.retrying = 0
        self.requests_total = 0

    def claim(self) -> BodyClaim:
        """Begin to hold a body."""
        return BodyClaim(self)

    def may_retry(self) -> bool:
        """Whether one more request may be on a further attempt now."""
        return self.retrying < max(RETRY_BUDGET_MINIMUM, RETRY_BUDGET * self.in_flight)
