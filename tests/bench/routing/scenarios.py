"""Who asks whom for what: clusters, models and streams of requests, each known by a seed.

Used by the simulator and by the real nodes alike. First turns come at times of their own (open
loop), later turns of a session after its last answer and some thought (closed loop). The load is a
share of what the cluster can do when no prompt is ever found in a cache and no model ever loaded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, replace
from string import ascii_lowercase
from typing import TYPE_CHECKING

from routing import traces

if TYPE_CHECKING:
    from collections.abc import Iterator

    from routing.traces import Quantiles

GB = 1e9
REFERENCE_BYTES = 4.9 * GB  # a model of eight billion weights at four bits, which presets go by
CACHE_BYTES_PER_TOKEN = 128 * 1024  # of such a model's context; smaller ones have less
DEFAULT_CONTEXT = 4_096
BLOCK_TOKENS = 64
SYSTEM_TOKENS = 220
APPLICATIONS = 4  # whose first words are the same in all their sessions


@dataclass(frozen=True)
class Preset:
    """A kind of node: orders of magnitude of published numbers, for REFERENCE_BYTES."""

    name: str
    prefill: float  # prompt tokens per second
    decode: float  # tokens per second of one answer alone
    load_rate: float  # bytes per second
    memory: float  # bytes
    slots: int
    crowding: float  # by which share a step takes longer with each further answer


RTX_4090 = Preset("4090", 4_500, 110, 2.5 * GB, 22 * GB, 4, 0.15)
RTX_3090 = Preset("3090", 2_500, 90, 1.5 * GB, 22 * GB, 4, 0.15)
RTX_3060 = Preset("3060", 1_100, 45, 1.0 * GB, 11 * GB, 2, 0.2)
M2 = Preset("M2", 350, 28, 2.0 * GB, 16 * GB, 2, 0.35)
CPU = Preset("CPU", 60, 8, 0.8 * GB, 24 * GB, 1, 0.6)

Cluster = tuple[tuple[str, Preset], ...]


def cluster(*counts: tuple[Preset, int]) -> Cluster:
    """So many nodes of each kind, named after it."""
    return tuple(
        (f"{preset.name.lower()}-{number}", preset)
        for preset, count in counts
        for number in range(count)
    )


MIXED = cluster((RTX_4090, 1), (RTX_3090, 2), (RTX_3060, 2), (M2, 1))
MIXED_CPU = cluster((RTX_4090, 1), (RTX_3090, 2), (RTX_3060, 2), (CPU, 1))
TWELVE = cluster((RTX_4090, 2), (RTX_3090, 4), (RTX_3060, 4), (M2, 2))
EQUAL = cluster((RTX_3090, 6))
THREE = cluster((RTX_4090, 1), (RTX_3060, 1), (M2, 1))
FOUR = cluster((RTX_3090, 2), (RTX_3060, 2))


@dataclass(frozen=True)
class SimModel:
    """A model as a node feels it."""

    name: str
    size: float  # bytes

    @property
    def scale(self) -> float:
        """How much slower than the model that presets go by."""
        return self.size / REFERENCE_BYTES

    def memory(self, context: int, slots: int) -> float:
        """Bytes in memory, with a context for each slot."""
        return self.size * 1.1 + context * slots * CACHE_BYTES_PER_TOKEN * min(self.scale, 1.0)


def models(*gigabytes: float) -> tuple[SimModel, ...]:
    """Models of these sizes; the names tell them apart."""
    return tuple(SimModel(f"m{n}-{size:g}g", size * GB) for n, size in enumerate(gigabytes))


ONE = models(4.9)


@dataclass(frozen=True)
class Stream:
    """One kind of requests."""

    prompts: Quantiles
    outputs: Quantiles
    share: float = 1.0  # of all requests
    turns: float = 1.0  # mean of a session
    cv: float = 1.1  # of the times between first turns: 1 is Poisson
    think_s: float = 20.0
    contexts: tuple[int | None, ...] = (None,)  # num_ctx, each as likely
    principals: tuple[str, ...] = ("alice", "bob", "charlie")
    model: int | None = None  # only this one; None: popular ones more often
    is_embedding: bool = False


CHAT = Stream(traces.CONVERSATION_IN, traces.CONVERSATION_OUT, turns=4)
ONE_SHOT = Stream(traces.CONVERSATION_IN, traces.CONVERSATION_OUT)
CODE = Stream(traces.CODE_IN, traces.CODE_OUT, turns=3, cv=6.0, think_s=8.0)
AGENT = Stream(traces.LONG_IN, traces.LONG_OUT, turns=5, cv=1.5, think_s=3.0, contexts=(16_384,))


@dataclass(frozen=True)
class Incident:
    """Something happens to a node, at a share of the time in which first turns arrive."""

    at: float
    node: str
    slower: float | None = None  # so many times; None: it dies, and is back at `until`
    until: float = 2.0


@dataclass(frozen=True)
class Scenario:
    """A cluster and who asks it."""

    name: str
    title: str
    nodes: Cluster
    models: tuple[SimModel, ...]
    streams: tuple[Stream, ...]
    load: float
    held_out: bool = True
    bar: str = "uneven"  # which bar of the issue it is held to: uneven, even, hog, or none
    incidents: tuple[Incident, ...] = ()


@dataclass(frozen=True, slots=True)
class Request:
    """One request. Its prompt is told in pieces (number, tokens): equal pieces are equal text."""

    number: int
    at: float  # seconds; of later turns 0
    after: int | None  # the request whose answer is read first
    think_s: float
    session: int
    principal: str
    model: str
    prompt: tuple[tuple[int, int], ...]
    answer: tuple[int, int]
    num_ctx: int | None
    is_embedding: bool

    @property
    def prompt_tokens(self) -> int:
        """All of them."""
        return sum(tokens for _, tokens in self.prompt)

    @property
    def output_tokens(self) -> int:
        """How long the answer will be."""
        return 0 if self.is_embedding else self.answer[1]


def seeded(seed: int | str) -> random.Random:
    """Dice that fall the same in every run."""
    return random.Random(seed)  # noqa: S311 - no secret is made of them


def blocks_of(pieces: tuple[tuple[int, int], ...]) -> tuple[int, ...]:
    """Chained hashes of the whole blocks: two texts agree as far as their blocks do."""
    found, chain, filled = [], 1, 0
    for piece, tokens in pieces:
        offset = 0
        while offset < tokens:
            taken = min(BLOCK_TOKENS - filled, tokens - offset)
            chain = hash((chain, piece, offset, taken))
            offset += taken
            filled += taken
            if filled == BLOCK_TOKENS:
                found.append(chain)
                filled = 0
    return tuple(found)


def text_of(pieces: tuple[tuple[int, int], ...]) -> str:
    """The same as text, four characters to a token."""
    words = []
    for piece, tokens in pieces:
        dice = seeded(piece)
        words += ["".join(dice.choices(ascii_lowercase, k=3)) for _ in range(tokens)]
    return " ".join([*words, ""])


def requests_of(scenario: Scenario, seed: int, count: int) -> list[Request]:
    """All requests, in the order of their numbers; a later turn has a higher one."""
    made: list[Request] = []
    for stream in scenario.streams:
        dice = seeded(f"{scenario.name} {seed} {scenario.streams.index(stream)}")
        wanted = round(count * stream.share)
        made += _Sessions(scenario, stream, dice, len(made), wanted).made()
    span_s = len(made) * _mean_work_s(scenario, made) / scenario.load
    return [replace(request, at=request.at * span_s) for request in made]


def span_of(requests: list[Request]) -> float:
    """Until the last first turn, in seconds."""
    return max(request.at for request in requests)


def holders_of(scenario: Scenario, model: SimModel) -> list[str]:
    """Nodes whose memory the model fits in at all."""
    return [
        name
        for name, preset in scenario.nodes
        if model.memory(DEFAULT_CONTEXT, preset.slots) <= preset.memory
    ]


class _Sessions:
    """Makes the requests of one stream; times run from 0 to 1."""

    def __init__(
        self, scenario: Scenario, stream: Stream, dice: random.Random, first: int, wanted: int
    ) -> None:
        self.scenario, self.stream, self.dice = scenario, stream, dice
        self.first, self.wanted = first, wanted
        self.pieces = (first + 1) * 1_000

    def made(self) -> list[Request]:
        """So many as are wanted."""
        found: list[Request] = []
        starts: list[tuple[int, float]] = []
        clock = 0.0
        shape = 1.0 / self.stream.cv**2
        while len(found) < self.wanted:
            clock += self.dice.gammavariate(shape, 1.0 / shape)
            starts.append((len(found), clock))
            found += list(self._session(len(found), len(starts)))
        at = {number: start / clock for number, start in starts}
        return [
            replace(request, at=at.get(position, 0.0))
            for position, request in enumerate(found[: self.wanted])
        ]

    def _session(self, done: int, session: int) -> Iterator[Request]:
        dice, stream = self.dice, self.stream
        model = self._model()
        principal, context = dice.choice(stream.principals), dice.choice(stream.contexts)
        length = stream.prompts.draw(dice)
        system = min(SYSTEM_TOKENS, length // 2)
        history = ((100 + dice.randrange(APPLICATIONS), system), self._piece(length - system))
        turns = 1
        while dice.random() > 1.0 / stream.turns:
            turns += 1
        for turn in range(turns):
            answer = self._piece(stream.outputs.draw(dice))
            number = self.first + done + turn
            yield Request(
                number=number,
                at=0.0,
                after=number - 1 if turn else None,
                think_s=dice.expovariate(1.0 / stream.think_s),
                session=self.first + session,
                principal=principal,
                model=model.name,
                prompt=history,
                answer=answer,
                num_ctx=context,
                is_embedding=stream.is_embedding,
            )
            history = (*history, answer, self._piece(traces.CHAT_TURN.draw(dice)))

    def _model(self) -> SimModel:
        if self.stream.model is not None:
            return self.scenario.models[self.stream.model]
        weights = [1.0 / (place + 1) for place in range(len(self.scenario.models))]
        return self.dice.choices(self.scenario.models, weights)[0]

    def _piece(self, tokens: int) -> tuple[int, int]:
        self.pieces += 1
        return self.pieces, tokens


def _mean_work_s(scenario: Scenario, requests: list[Request]) -> float:
    """Seconds between requests at which the cluster would be just busy all the time."""
    sizes = {model.name: model for model in scenario.models}
    holders = {model.name: set(holders_of(scenario, model)) for model in scenario.models}
    per_second = 0.0
    for name, preset in scenario.nodes:
        its = [request for request in requests if name in holders[request.model]]
        if its:
            each_s = [_work_s(request, preset, sizes[request.model]) for request in its]
            per_second += len(its) / sum(each_s) * len(its) / len(requests)
    return 1.0 / per_second


def _work_s(request: Request, preset: Preset, model: SimModel) -> float:
    """Of a node's time, with all its slots at work."""
    step_s = model.scale / preset.decode * (1.0 + preset.crowding * (preset.slots - 1))
    read_s = request.prompt_tokens * model.scale / preset.prefill
    return read_s + request.output_tokens * step_s / preset.slots
