"""What a node's answers to /api/ps have taught of its memory, as the database keeps it.

Ollama tells nobody how much memory a node has. What it has held at once, it can hold again; a model
that went before its time when another came was pushed out, so those two sets were too much. And a
model whose `expires_at` has moved, or has passed while it is still there, is in use.

Pure: no clock, no database, no network. Instants are seconds since 1970.
"""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from shared.snapshot import LoadedModel

CROWDED_FOR_S: Final = 86_400.0
"""So long a set that was too much counts as too much: a model that a client unloaded by
`keep_alive: 0` just when another came looks the same, and must not bar a node for ever."""


class Room(StrEnum):
    """Whether a set of models can be in a node's memory together."""

    FITS = "fits"
    UNKNOWN = "unknown"
    CROWDED = "crowded"


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """So many models in memory, and what they take there."""

    count: int = 0
    size_bytes: int = 0

    def within(self, other: Held) -> bool:
        """Whether a node that can hold the other set can hold this one."""
        return self.count <= other.count and self.size_bytes <= other.size_bytes


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of one node's memory."""

    most: Held = Held()
    """The most models, and the most bytes, that were seen at once. Ollama bounds each by itself, so
    the two together fit as well, whenever each was seen."""

    crowded: Held | None = None
    """What was too much when it was last tried, at `crowded_at`."""

    crowded_at: float = 0.0
    used: dict[str, float] = msgspec.field(default_factory=dict)
    """Digest of each model in memory -> when it was last seen in use."""

    def room_for(self, held: Held, now: float) -> Room:
        """Whether this set would fit, as far as was seen."""
        if held.count <= 1 or held.within(self.most):
            return Room.FITS  # a model alone pushes nobody out
        is_recent = now - self.crowded_at < CROWDED_FOR_S
        if self.crowded is not None and is_recent and self.crowded.within(held):
            return Room.CROWDED
        return Room.UNKNOWN


_decoder: Final = msgspec.json.Decoder(Memory)


def memory_of(text: str) -> Memory:
    """From its stored form; "" while nothing was seen."""
    return _decoder.decode(text) if text else Memory()


def memory_text(memory: Memory) -> str:
    """The stored form."""
    return msgspec.json.encode(memory).decode()


def bytes_of(model: LoadedModel) -> int:
    """What a model takes of the memory that it competes for."""
    return model.size_vram_bytes or model.size_bytes


def held_by(models: Iterable[LoadedModel]) -> Held:
    """What these take together."""
    sizes = [bytes_of(model) for model in models]
    return Held(count=len(sizes), size_bytes=sum(sizes))


def memory_take(
    memory: Memory, was: Sequence[LoadedModel], now_held: Sequence[LoadedModel], now: float
) -> Memory:
    """Go on by one look at /api/ps: what it listed the last time, and what it lists now."""
    held = held_by(now_held)
    most = Held(
        count=max(memory.most.count, held.count),
        size_bytes=max(memory.most.size_bytes, held.size_bytes),
    )
    before = {model.digest: model for model in was}
    used = {
        model.digest: (
            now
            if _is_in_use(model, before.get(model.digest), now)
            else memory.used.get(model.digest, now)
        )
        for model in now_held
    }
    crowded, crowded_at = memory.crowded, memory.crowded_at
    seen = _pushed_out(before, now_held, now)
    if seen is not None:
        crowded, crowded_at = seen, now
    if crowded is not None and crowded.within(most):
        crowded, crowded_at = None, 0.0
    return Memory(most=most, crowded=crowded, crowded_at=crowded_at, used=used)


def _is_in_use(model: LoadedModel, was: LoadedModel | None, now: float) -> bool:
    """It came, its time was put off, or its time is over and it still answers somebody."""
    return was is None or was.expires_at != model.expires_at or not _is_ahead(model.expires_at, now)


def _pushed_out(
    before: dict[str, LoadedModel], now_held: Sequence[LoadedModel], now: float
) -> Held | None:
    """What was together too much: who went before its time, who stayed, and who came."""
    present = {model.digest for model in now_held}
    gone = [
        model
        for digest, model in before.items()
        if digest not in present and _is_ahead(model.expires_at, now)
    ]
    has_newcomer = any(model.digest not in before for model in now_held)
    return held_by([*gone, *now_held]) if gone and has_newcomer else None


def _is_ahead(instant: str, now: float) -> bool:
    try:
        moment = dt.datetime.fromisoformat(instant)
    except ValueError:
        return True  # keep_alive -1 is written as a year beyond what Python can read
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment.timestamp() > now
