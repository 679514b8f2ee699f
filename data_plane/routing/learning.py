"""How fast each node is with each model, learned from plain answers, and guessed until then.

What is not known is taken from what is nearest (the ladder in README.md), optimistically, so that a
pair gets tried and then is known.
"""

from __future__ import annotations

from itertools import islice
from math import exp
from typing import Final

import msgspec

from data_plane.routing.pair import REMEMBERED, WINDOW, Dumped, Pair, moved, quantile, sound

DEFAULT_BYTES: Final = 5e9
"""Of a model whose size nobody says: one of eight billion weights at four bits."""

PRIOR_PREFILL: Final = 1_000 * DEFAULT_BYTES
"""Prompt tokens per second times bytes of the model: some 1,000 a second for 5 GB."""

PRIOR_STEP: Final = 0.025 / DEFAULT_BYTES
"""Seconds per output token and byte: a memory bandwidth of 200 GB/s, as each token reads all."""

PRIOR_LOAD_S: Final = 1.0
PRIOR_LOAD_RATE: Final = 1.5e9
"""Bytes per second from a good disk."""

OPTIMISM: Final = 1.25
ENOUGH: Final = 8
"""Nodes that a guess for another node is made from."""


class Rates(msgspec.Struct, frozen=True):
    """What predictions about a node and a model are made of."""

    prefill: float
    """Prompt tokens per second, nothing else going on."""

    step_s: float
    """Per output token, nothing else going on."""

    crowding: float
    """By how much of it one more answer at the same time makes a step longer."""

    load_s: float
    slots: int
    """Answers that the runner works on at once, as far as was proved."""

    is_bounded: bool
    """Whether more than `slots` were seen to wait: only then is it known that there are no more."""

    trust: float
    """Share of an expected cache hit that turns out to be one."""

    first_byte_s: float | None
    """Measured from sending to the first byte, less the predicted wait."""


class _Told(msgspec.Struct):
    pairs: dict[str, dict[str, Dumped]]
    habits: dict[str, tuple[float, float, float]]


class Habits:
    """What is known of one model, wherever it runs."""

    __slots__ = ("_at", "_count", "_seen", "factor", "output", "prompt")

    def __init__(self) -> None:
        self.factor = 1.0
        """Tokens that a prompt turned out to have, over those that were estimated."""

        self.prompt = 300.0
        self.output = 150.0
        """Moving means of tokens; the first values are those of a short chat."""

        self._count = self._at = 0.0
        self._seen = 1

    @classmethod
    def of(cls, factor: float, prompt: float, output: float) -> Habits:
        """What a restart knows."""
        habits = cls()
        habits.factor, habits.prompt, habits.output = factor, prompt, output
        habits._seen = REMEMBERED
        return habits

    def saw(self, *, factor: float | None, prompt: int | None, output: int | None) -> None:
        """One answer. The first ones weigh as in a plain mean: the guess is worth one of them."""
        self._seen += 1
        first = 1.0 / self._seen
        if factor is not None:
            self.factor = moved(self.factor, min(max(factor, 0.1), 10.0), max(first, 0.1))
        if prompt:
            self.prompt = moved(self.prompt, prompt, max(first, 0.1))
        if output:
            self.output = moved(self.output, output, max(first, 0.05))

    def arrived(self, now: float) -> None:
        """One more request."""
        self._count = self._count * exp((self._at - now) / 90.0) + 1.0
        self._at = now

    def per_second(self, now: float) -> float:
        """Requests of the last minutes."""
        return self._count * exp(min(self._at - now, 0.0) / 90.0) / 90.0


class Learned:
    """Every pair, and the ladder for those that nothing is known of."""

    def __init__(self) -> None:
        self.pairs: dict[str, dict[str, Pair]] = {}
        """By node, then by model."""

        self.habits: dict[str, Habits] = {}
        self._rates: dict[tuple[str, str], Rates] = {}
        """What was measured, and `_guesses` what was taken from others, until that changes."""

        self._guesses: dict[tuple[str, str], Rates] = {}

    def pair(self, node_id: str, key: str) -> Pair:
        """What was learned of a node with a model, to be added to; call `changed` then."""
        pairs = self.pairs.setdefault(node_id, {})
        if key not in pairs:
            pairs[key] = Pair()
        return pairs[key]

    def of_model(self, key: str) -> Habits:
        """The model's habits."""
        habits = self.habits.get(key)
        if habits is None:
            habits = self.habits[key] = Habits()
        return habits

    def changed(self, node_id: str, key: str) -> None:
        """A pair has one more sample. Guesses from it are made anew as it becomes better known."""
        self._rates.pop((node_id, key), None)
        self._guesses.pop((node_id, key), None)
        count = self.pairs[node_id][key].count
        if count <= WINDOW and count & (count - 1) == 0:
            self._guesses.clear()

    def keep(self, node_ids: frozenset[str], sizes: dict[str, float]) -> None:
        """Forget nodes and models that are no more."""
        for node_id in self.pairs.keys() - node_ids:
            del self.pairs[node_id]
        for pairs in self.pairs.values():
            for key in pairs.keys() - sizes.keys():
                del pairs[key]
        for key in self.habits.keys() - sizes.keys():
            del self.habits[key]
        self._rates.clear()
        self._guesses.clear()

    def dump(self) -> bytes:
        """What a restart shall know, as JSON."""
        return msgspec.json.encode(
            {
                "pairs": {
                    node_id: {key: pair.dump() for key, pair in pairs.items()}
                    for node_id, pairs in self.pairs.items()
                },
                "habits": {
                    key: (habits.factor, habits.prompt, habits.output)
                    for key, habits in self.habits.items()
                },
            }
        )

    def load(self, kept: bytes) -> None:
        """The reverse of `dump`. Raises ValueError when it is something else."""
        told = msgspec.json.decode(kept, type=_Told)
        self.pairs = {
            node_id: {key: Pair.of(dumped) for key, dumped in pairs.items()}
            for node_id, pairs in told.pairs.items()
        }
        for key, numbers in told.habits.items():
            if len(sound(numbers)) == len(numbers):
                self.habits[key] = Habits.of(*numbers)
        self._rates.clear()
        self._guesses.clear()

    def rates(self, node_id: str, key: str, sizes: dict[str, float], told: float) -> Rates:
        """The best that is known or can be guessed; `told` are the slots that the operator says."""
        which = node_id, key
        found = self._rates.get(which) or self._guesses.get(which)
        if found is None:
            pair = self.pairs.get(node_id, {}).get(key)
            is_known = pair is not None and bool(pair.prefill and pair.steps)
            found = self._judge(node_id, key, sizes, told)
            (self._rates if is_known else self._guesses)[which] = found
        return found

    def _judge(self, node_id: str, key: str, sizes: dict[str, float], told: float) -> Rates:
        pair = self.pairs.get(node_id, {}).get(key) or _UNKNOWN
        size = sizes.get(key) or DEFAULT_BYTES
        slots, is_bounded = pair.slots()
        if not is_bounded and told != float("inf"):
            slots, is_bounded = max(int(told), 1), True
        load_s = pair.load_s
        if load_s is None:
            load_s = PRIOR_LOAD_S + size / PRIOR_LOAD_RATE
        return Rates(
            prefill=self._prefill(pair, node_id, key, sizes),
            step_s=self._step(pair, node_id, key, sizes),
            crowding=pair.crowding,
            load_s=load_s,
            slots=slots,
            is_bounded=is_bounded,
            trust=pair.trust,
            first_byte_s=self._first_byte(pair, node_id),
        )

    def _prefill(self, pair: Pair, node_id: str, key: str, sizes: dict[str, float]) -> float:
        if pair.prefill:
            return quantile(pair.prefill, 0.8)
        size = sizes.get(key) or DEFAULT_BYTES
        here = [
            quantile(each.prefill, 0.8) * (sizes.get(other) or DEFAULT_BYTES) / size
            for other, each in self.pairs.get(node_id, {}).items()
            if each.prefill
        ]
        if here:
            return sum(here) / len(here)
        there = [quantile(each.prefill, 0.8) for each in self._elsewhere(key) if each.prefill]
        return OPTIMISM * sum(there) / len(there) if there else PRIOR_PREFILL / size

    def _step(self, pair: Pair, node_id: str, key: str, sizes: dict[str, float]) -> float:
        if pair.steps:
            return quantile(pair.steps, 0.3)
        size = sizes.get(key) or DEFAULT_BYTES
        here = [
            quantile(each.steps, 0.3) * size / (sizes.get(other) or DEFAULT_BYTES)
            for other, each in self.pairs.get(node_id, {}).items()
            if each.steps
        ]
        if here:
            return sum(here) / len(here)
        there = [quantile(each.steps, 0.3) for each in self._elsewhere(key) if each.steps]
        return sum(there) / len(there) / OPTIMISM if there else PRIOR_STEP * size

    def _first_byte(self, pair: Pair, node_id: str) -> float | None:
        if pair.first_byte_s is not None:
            return pair.first_byte_s
        pairs = self.pairs.get(node_id, {}).values()
        known = [each.first_byte_s for each in pairs if each.first_byte_s is not None]
        return sum(known) / len(known) if known else None

    def _elsewhere(self, key: str) -> list[Pair]:
        holders = (pairs[key] for pairs in self.pairs.values() if key in pairs)
        return list(islice((pair for pair in holders if pair.count), ENOUGH))


_UNKNOWN: Final = Pair()
