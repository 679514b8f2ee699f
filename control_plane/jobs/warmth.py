"""Which models shall be in memory where, by the proxy config's `warm_models`: the rule.

For each model that has fewer copies in memory than are wished, the best node that has it on disk is
to load it. It never thrashes, because

* a model in memory is left as it is: a load with other options than its clients' would have Ollama
  load it anew;
* no load goes where it would push out a model that is itself wished for there, or was used within
  `LATELY_S`; where nobody knows whether both fit, one try is made while nobody uses anything there,
  and what is seen of it is remembered (`nodes.memory`);
* a node gets one load at a time;
* the waits between the loads of a model at a node double, whatever takes it out of memory again.

Pure: no clock, no database, no network. Instants are seconds since 1970.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from control_plane.nodes.memory import Held, Memory, Room, held_by
from control_plane.nodes.orders import Kind

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping, Sequence

    from shared.snapshot import LoadedModel

LATELY_S: Final = 300.0
"""Ollama's own idea of how long a model that was used may be wanted again (OLLAMA_KEEP_ALIVE)."""

FIRST_WAIT_S: Final = 60.0
LONGEST_WAIT_S: Final = 3_600.0
HISTORY_S: Final = 86_400.0
"""Loads within this time count for the wait: at most 30 of a model at a node in a day."""


class Standing(StrEnum):
    """How a node that has the model on disk stands to it."""

    WARM = "warm"
    LOADING = "loading"
    READY = "ready"
    OCCUPIED = "occupied"
    WAITING = "waiting"
    IN_USE = "in_use"
    NO_ROOM = "no_room"
    OTHER_VERSION = "other_version"
    STANDBY = "standby"


SENTENCES: Final = {
    Standing.WARM: "in memory",
    Standing.LOADING: "is being loaded",
    Standing.READY: "could load it",
    Standing.OCCUPIED: "another job is at work there; it is looked at again when that is done",
    Standing.WAITING: "was loaded there lately and did not stay, or failed; it has to wait",
    Standing.IN_USE: "models there are in use, and whether this one fits beside them is not known; "
    "load it there once by /api/proxy/models/load to find out",
    Standing.NO_ROOM: "would push out a model that is kept or in use; unload that, or wish for "
    "fewer copies",
    Standing.OTHER_VERSION: "has a version that is not served; pull the model there",
    Standing.STANDBY: "is in the standby pool",
}
"""What an operator reads, and does next."""


@dataclass(frozen=True, slots=True)
class NodeView:
    """A node as the rule sees it."""

    id: uuid.UUID
    name: str
    is_active: bool
    digests: Mapping[str, str]
    """Canonical name -> version on its disk, of the models that are wished for."""

    loaded: Sequence[LoadedModel] = ()
    memory: Memory = field(default_factory=Memory)
    active_count: int = 0
    opened: Mapping[str, str] = field(default_factory=dict)
    """Canonical name -> kind of the job that is under way there."""

    tried: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """Canonical name -> when the policy asked for loads of it there, within `HISTORY_S`."""

    def has_in_memory(self, canonical: str) -> bool:
        """By name, or as the same weights under another name."""
        digest = self.digests.get(canonical)
        return any(model.canonical == canonical or model.digest == digest for model in self.loaded)


@dataclass(frozen=True, slots=True)
class Stand:
    """One node and one model."""

    node: NodeView
    standing: Standing
    until: float | None = None
    """With WAITING: when it may be tried again."""

    is_tried_out: bool = False
    """With READY: nobody knows whether it fits beside what is there."""


@dataclass(frozen=True, slots=True)
class Wish:
    """A model and what is so of it."""

    canonical: str
    wanted: int
    digest: str | None
    """The version that is served; None serves whichever a node has."""

    size_bytes: int
    stands: tuple[Stand, ...] = ()

    def count(self, standing: Standing) -> int:
        """How many nodes stand to it like this."""
        return sum(stand.standing is standing for stand in self.stands)

    @property
    def missing(self) -> int:
        """Copies that are neither there nor on their way."""
        there = self.count(Standing.WARM) + self.count(Standing.LOADING)
        return max(0, self.wanted - there)


def next_wait_s(tries: int) -> float:
    """Between the last of so many loads and the next one."""
    if not tries:
        return 0.0
    return min(LONGEST_WAIT_S, FIRST_WAIT_S * 2.0 ** min(tries - 1, 16))


def judged(wishes: Sequence[Wish], nodes: Sequence[NodeView], now: float) -> list[Wish]:
    """Each wish with how every node that has the model stands to it."""
    warm = {
        wish.canonical: sum(_is_warm(wish, node) for node in nodes if node.is_active)
        for wish in wishes
    }
    needed = {wish.canonical for wish in wishes if warm[wish.canonical] <= wish.wanted}
    return [
        Wish(
            wish.canonical,
            wish.wanted,
            wish.digest,
            wish.size_bytes,
            tuple(
                _stand(wish, node, needed, now) for node in nodes if wish.canonical in node.digests
            ),
        )
        for wish in wishes
    ]


def chosen(wishes: Sequence[Wish]) -> list[tuple[Wish, NodeView]]:
    """Which loads to ask for now: at most one at each node, those that lack most come first."""
    loads: list[tuple[Wish, NodeView]] = []
    taken: set[uuid.UUID] = set()
    for wish in sorted(wishes, key=lambda wish: (-wish.missing, wish.canonical)):
        ready = [
            stand
            for stand in wish.stands
            if stand.standing is Standing.READY and stand.node.id not in taken
        ]
        for stand in sorted(ready, key=_rank)[: wish.missing]:
            taken.add(stand.node.id)
            loads.append((wish, stand.node))
    return loads


def _rank(stand: Stand) -> tuple[bool, int, int, str]:
    """Where it is known to fit; then the idle ones; then the most memory that is free, as seen."""
    node = stand.node
    free_bytes = node.memory.most.size_bytes - held_by(node.loaded).size_bytes
    return (stand.is_tried_out, node.active_count, -free_bytes, node.name)


def _is_warm(wish: Wish, node: NodeView) -> bool:
    is_served = wish.digest is None or node.digests.get(wish.canonical) == wish.digest
    return is_served and node.has_in_memory(wish.canonical)


def _stand(wish: Wish, node: NodeView, needed: set[str], now: float) -> Stand:
    standing = _plain_standing(wish, node)
    if standing is not None:
        return Stand(node, standing)
    tries = node.tried.get(wish.canonical, ())
    until = max(tries, default=0.0) + next_wait_s(len(tries))
    if until > now:
        return Stand(node, Standing.WAITING, until)
    return _by_room(wish, node, needed, now)


def _plain_standing(wish: Wish, node: NodeView) -> Standing | None:
    """What can be said without a look at the clock and at the memory."""
    if not node.is_active:
        return Standing.STANDBY
    if wish.digest is not None and node.digests[wish.canonical] != wish.digest:
        return Standing.OTHER_VERSION
    if node.has_in_memory(wish.canonical):
        return Standing.WARM
    if node.opened.get(wish.canonical) == Kind.LOAD:
        return Standing.LOADING
    # Pulls of other models load the disk, not the memory, and last for an hour.
    if wish.canonical in node.opened or Kind.LOAD in node.opened.values():
        return Standing.OCCUPIED
    return None


def _by_room(wish: Wish, node: NodeView, needed: set[str], now: float) -> Stand:
    held = held_by(node.loaded)
    both = Held(count=held.count + 1, size_bytes=held.size_bytes + wish.size_bytes)
    room = node.memory.room_for(both, now)
    if room is Room.FITS:
        return Stand(node, Standing.READY)
    is_used = any(now - node.memory.used.get(model.digest, now) < LATELY_S for model in node.loaded)
    # Under the name that loaded it, or under another one of the same weights.
    is_needed = any(
        name in needed and node.has_in_memory(name)
        for name in {*node.digests, *(model.canonical for model in node.loaded)}
    )
    if not is_used and not is_needed:
        return Stand(node, Standing.READY)
    if room is Room.CROWDED:
        return Stand(node, Standing.NO_ROOM)
    if is_used:
        return Stand(node, Standing.IN_USE)
    return Stand(node, Standing.READY, is_tried_out=True)
