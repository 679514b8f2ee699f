"""What a simulated node holds: requests, the slots that they are served in, and their runners."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from routing.scenarios import DEFAULT_CONTEXT

if TYPE_CHECKING:
    from routing.scenarios import SimModel

KEEP_ALIVE_S = 300.0


@dataclass(slots=True, eq=False)
class Job:
    """One request, as a node gets it."""

    number: int
    model: str
    tokens: int
    blocks: tuple[int, ...] = ()
    whole: tuple[int, ...] = ()  # the blocks with those of the answer: what the slot holds then
    output: int = 1
    num_ctx: int | None = None
    is_embedding: bool = False
    keep_alive_s: float = KEEP_ALIVE_S
    # What becomes of it.
    came_at: float = 0.0
    joined_at: float = 0.0  # its runner was there
    began_at: float = 0.0  # it got a slot
    first_at: float | None = None
    cached: int = 0
    unread: float = 0.0
    ends_at_step: float = 0.0
    slot: Slot | None = None

    @property
    def context(self) -> int:
        """What the model has to be loaded with."""
        return self.num_ctx or DEFAULT_CONTEXT


@dataclass(slots=True, eq=False)
class Slot:
    """A place for one answer, and the prompt that it worked on last."""

    blocks: tuple[int, ...] = ()
    used_at: float = -inf


@dataclass(slots=True, eq=False)
class Runner:
    """A model in memory, or on its way there."""

    model: SimModel
    context: int
    ready_at: float
    memory: float
    free: list[Slot]
    keep_alive_s: float
    expires_at: float = inf
    is_leaving: bool = False
    queue: deque[Job] = field(default_factory=deque)
    reading: list[Job] = field(default_factory=list)
    writing: list[Job] = field(default_factory=list)
    steps: float = 0.0  # tokens that each answer has got since the runner is there

    @property
    def is_idle(self) -> bool:
        """Nobody waits for it or is served."""
        return not (self.queue or self.reading or self.writing)


@dataclass(frozen=True, slots=True)
class Record:
    """The numbers at the end of an answer."""

    load_s: float
    prompt_tokens: int
    cached_tokens: int
    prompt_s: float
    eval_tokens: int
    eval_s: float
    total_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """Something happened: the first token (no record), or the end."""

    job: Job
    at: float
    record: Record | None = None
