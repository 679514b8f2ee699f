"""Leases: a claim on a node that lives exactly as long as its answer, and the counts made of them.

A lease is a context manager, so that releasing it cannot be forgotten; releasing twice counts once.
It is also the handle by which a request can be let go: by the watch when its node is down, and by
the end of the drain.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Self

from data_plane.routing.ranking import Journal
from data_plane.upstream.faults import Fault, NodeFailedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import TracebackType

    from data_plane.host.board import HostCounts
    from data_plane.upstream.answer import NodeAnswer


class Lease:
    """One active request at one node."""

    __slots__ = (
        "_fault",
        "_leases",
        "_passed_on",
        "_task",
        "answer",
        "has_begun",
        "has_spoken",
        "last_byte_at",
        "node_id",
        "on_release",
        "progress",
    )

    def __init__(self, leases: Leases, node_id: str, last_byte_at: float) -> None:
        self.node_id = node_id
        self.last_byte_at = last_byte_at
        """When the node was last seen to have spoken on this request; at first, when it began."""

        self.has_spoken = False
        """Since somebody last looked. A flag is all that a chunk has time for."""

        self.progress: Callable[[], int] | None = None
        """How much of a stream has been passed on: not even a flag is set for its chunks."""

        self.has_begun = False
        """Whether the first byte of the answer has arrived."""

        self.answer: NodeAnswer | None = None
        """What is let go of while no task holds the lease: see `Attempts.begin`."""

        self.on_release: Callable[[], None] | None = None
        """Called when the place is given back."""

        self._leases = leases
        self._passed_on = 0
        self._task: asyncio.Task[object] | None = None
        self._fault: Fault | None = None

    def listen(self, now: float) -> None:
        """Note whether the node has spoken since this was called last."""
        passed_on = self.progress() if self.progress is not None else 0
        if self.has_spoken or passed_on != self._passed_on:
            self.has_spoken, self._passed_on, self.last_byte_at = False, passed_on, now

    def let_go(self, fault: Fault) -> None:
        """End the wait of whoever holds the lease: `NodeFailedError(fault)` is raised there."""
        if self._task is None:
            if self.answer is not None:
                self.answer.let_go(fault)
        elif self._fault is None:
            self._fault = fault
            self._task.cancel()

    def __enter__(self) -> Self:
        self._task = asyncio.current_task()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()
        task, self._task = self._task, None
        is_ours = kind is asyncio.CancelledError and self._fault is not None
        # Our own cancellation becomes an error; a client that left meanwhile stays cancelled.
        # This is how asyncio.timeout() tells the two apart.
        if is_ours and task is not None and task.uncancel() == 0:
            raise NodeFailedError(self._fault or Fault.NO_ANSWER) from error

    def release(self) -> None:
        """Give the place back. Never awaits; a second call does nothing."""
        self._leases.drop(self)
        self.answer = None  # which knows us: in a circle, both would wait for the collector
        if self.on_release is not None:
            self.on_release()


class Leases:
    """Every lease of this process, and how many requests each node has over all instances."""

    def __init__(self, host: HostCounts | None = None) -> None:
        self.journal = Journal()
        """Whose count has changed."""

        self._counts: dict[str, float] = {}
        self._held: dict[str, set[Lease]] = {}
        self._elsewhere: Mapping[str, int] = {}
        self._host = host

    @property
    def counts(self) -> Mapping[str, float]:
        """Node id -> active count over the fleet: ours, those of the other workers of this host
        as of this moment, and what other instances reported.
        """
        if self._host is not None:
            for node_id in self._host.catch_up():
                self._recount(node_id)
        return self._counts

    def take(self, node_id: str, now: float) -> Lease:
        """Claim a place at a node. Does not await, so that choosing and taking are one step."""
        lease = Lease(self, node_id, now)
        held = self._held.get(node_id)
        if held is None:
            self._held[node_id] = {lease}
        else:
            held.add(lease)
        self._counts[node_id] = self._counts.get(node_id, 0) + 1
        self.journal.note(node_id)
        if self._host is not None:
            self._host.write(node_id, len(self._held[node_id]))
        return lease

    def drop(self, lease: Lease) -> None:
        """Called by the lease."""
        held = self._held.get(lease.node_id)
        if held is None or lease not in held:
            return
        held.discard(lease)
        if not held:
            del self._held[lease.node_id]
        self._recount(lease.node_id)
        if self._host is not None:
            self._host.write(lease.node_id, len(held))

    def _recount(self, node_id: str) -> None:
        count = len(self._held.get(node_id, ())) + self._elsewhere.get(node_id, 0)
        if self._host is not None:
            count += self._host.elsewhere.get(node_id, 0)
        if count:
            self._counts[node_id] = count
        else:
            self._counts.pop(node_id, None)
        self.journal.note(node_id)

    def others_reported(self, counts: Mapping[str, int]) -> None:
        """Take in what the other instances said; their word replaces what they said before."""
        stale = self._elsewhere.keys() | counts.keys()
        self._elsewhere = counts
        for node_id in stale:
            self._recount(node_id)

    def own_count(self, node_id: str) -> int:
        """Active requests of this instance at a node."""
        return len(self._held.get(node_id, ()))

    def own_counts(self) -> dict[str, int]:
        """Active requests of this instance, nodes without any left out."""
        return {node_id: len(held) for node_id, held in self._held.items()}

    def at(self, node_id: str) -> tuple[Lease, ...]:
        """The leases at one node."""
        return tuple(self._held.get(node_id, ()))

    def __contains__(self, lease: Lease) -> bool:
        return lease in self._held.get(lease.node_id, ())

    def __iter__(self) -> Iterator[Lease]:
        return iter([lease for held in self._held.values() for lease in held])

    def __len__(self) -> int:
        return sum(len(held) for held in self._held.values())
