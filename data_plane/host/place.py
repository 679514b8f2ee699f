"""Where a worker stands among the others of its host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from data_plane.settings import MAX_WORKERS

if TYPE_CHECKING:
    import socket

    from data_plane.host.board import Board


@dataclass(frozen=True, slots=True)
class Place:
    """Given to a worker by the parent."""

    number: int
    """From 1; in every log line."""

    group: str
    """The name of the whole data plane; a worker is `group.number` in state and reports."""

    board: Board
    health: socket.socket
    """Listens for the process that adds the workers' metrics up."""

    @property
    def instance(self) -> str:
        """The name of this worker."""
        return _instance(self.group, self.number)

    @property
    def mates(self) -> frozenset[str]:
        """Names of workers on this board, and of those that an earlier, larger group had. Their
        reports are not to be counted: what they do stands on the board, or they are gone.
        """
        return frozenset(_instance(self.group, number) for number in range(1, MAX_WORKERS + 1))


def _instance(group: str, number: int) -> str:
    return f"{group}.{number}"
