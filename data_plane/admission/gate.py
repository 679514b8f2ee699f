"""Whether there is room: the memory and the disk that request bodies may take together, and the
retry budget.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self

from data_plane.settings import RETRY_BUDGET, RETRY_BUDGET_MINIMUM

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType


class NoRoomError(Exception):
    """The bodies held at this moment leave no room for this one."""


class Spool(Protocol):
    """Where a large body lies."""

    def close(self) -> None:
        """Let go of it."""


class BodyClaim:
    """The bytes that one request holds. A context manager, so that they always come back."""

    __slots__ = ("_gate", "_size", "_spool", "_spooled")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._size = 0
        self._spool: Spool | None = None
        self._spooled = 0

    @property
    def spool_dir(self) -> Path:
        """Where bodies lie that are too large to hold."""
        return self._gate.spool_dir

    @property
    def spool_budget_bytes(self) -> int:
        """How much all bodies together may take on disk."""
        return self._gate.spool_budget_bytes

    def moves_to(self, spool: Spool) -> None:
        """The body lies in a spool from here on, which is closed with the claim."""
        self._spool = spool
        self._gate.body_bytes -= self._size
        self._size = 0

    def spool_to(self, size: int) -> None:
        """Claim up to `size` bytes in total on disk. Raises NoRoomError."""
        further = size - self._spooled
        if further <= 0:
            return
        if self._gate.spool_bytes + further > self._gate.spool_budget_bytes:
            raise NoRoomError
        self._gate.spool_bytes += further
        self._spooled = size

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
        self._gate.spool_bytes -= self._spooled
        self._size = self._spooled = 0
        if self._spool is not None:
            self._spool.close()
            self._spool = None

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

    def __init__(
        self,
        body_budget_bytes: int,
        spool_budget_bytes: int,
        spool_dir: Path,
        *,
        max_active: int,
        max_connections: int,
    ) -> None:
        self.max_active = max_active
        """Requests in flight beyond which no inference is begun."""

        self.is_memory_short = False
        self._most_active = max_active

        self.max_connections = max_connections
        self.connections = 0
        """Of clients, those included that are being refused."""

        self.body_budget_bytes = body_budget_bytes
        self.body_bytes = 0
        self.spool_budget_bytes = spool_budget_bytes
        self.spool_bytes = 0
        self.spool_dir = spool_dir
        self.in_flight = 0
        self.retrying = 0
        self.requests_total = 0

    def claim(self) -> BodyClaim:
        """Begin to hold a body."""
        return BodyClaim(self)

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be, the one that asks left out."""
        return self.in_flight > self._most_active

    def judge_memory(self, *, is_short: bool) -> None:
        """While memory is short, nothing is begun beside anything else.

        A request alone is: with nothing under way there is nothing whose end would give memory
        back, and refusing for ever would be worse than being ended and started anew.
        """
        self.is_memory_short = is_short
        self._most_active = 1 if is_short else self.max_active

    def connected(self) -> bool:
        """Count a connection; False when it is one too many."""
        self.connections += 1
        return self.connections <= self.max_connections

    def may_retry(self) -> bool:
        """Whether one more request may be on a further attempt now."""
        return self.retrying < max(RETRY_BUDGET_MINIMUM, RETRY_BUDGET * self.in_flight)
