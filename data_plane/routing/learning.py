"""How fast each node is with each model, learned from plain answers, and guessed until then.

One sample is one answer; sixteen are kept, so that a node which changes is soon known anew. What is
not known is taken from what is nearest (the ladder in README.md), optimistically, so that a pair
gets tried and then is known.
"""

from __future__ import annotations

from itertools import islice
from math import exp, inf, log
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 16
REMEMBERED: Final = 4
"""Samples that a restart keeps of a full window: new ones soon outweigh them."""

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
PRIOR_CROWDING: Final = 0.2
CROWDING_WEIGHT: Final = 4.0
CLOSE_S: Final = 0.05
"""A wait that is shorter was none."""

ENOUGH: Final = 8
"""Nodes that a guess for another node is made from."""

KEPT_EVIDENCE: Final = 0.8
"""Of what was seen before, with each further request: the last eight or so decide."""

MOST_SLOTS: Final = 64
"""Nobody has more; and as many are all that is worth telling apart."""

DRIFT: Final = log(1.8)
DRIFTED_IN_A_ROW: Final = 4


def moved(previous: float | None, sample: float, weight: float) -> float:
    """The next value of a moving mean."""
    return sample if previous is None else previous + weight * (sample - previous)


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


class Pair:
    """What was learned of one node with one model."""

    __slots__ = (
        "_levels",
        "_sign",
        "_signs",
        "_xx",
        "_xy",
        "count",
        "first_byte_s",
        "last_at",
        "load_s",
        "prefill",
        "steps",
        "tried_more_at",
        "trust",
    )

    def __init__(self) -> None:
        self.count = 0
        self.last_at = 0.0
        self.prefill: list[float] = []
        self.steps: list[float] = []
        self.load_s: float | None = None
        self.trust = 1.0
        self.first_byte_s: float | None = None
        self._xx = self._xy = 0.0
        self._levels: dict[int, list[float]] = {}
        """Of requests that were one of so many there: those that had a slot at once, and those that
        waited, older ones counting less. Each number has a memory of its own: requests that are
        held never wait at the node, and would soon outnumber those that did."""

        self.tried_more_at = -inf
        self._sign = self._signs = 0

    @property
    def crowding(self) -> float:
        """Ridge regression towards the prior, so that two samples do not decide."""
        top = CROWDING_WEIGHT * PRIOR_CROWDING + self._xy
        return min(max(top / (CROWDING_WEIGHT + self._xx), 0.02), 1.0)

    def saw_prefill(self, tokens_per_s: float) -> None:
        """A prompt without a cache hit was read this fast."""
        self.prefill.append(tokens_per_s)
        del self.prefill[:-WINDOW]

    def saw_steps(self, step_s: float, together: float) -> None:
        """A token took so long while so many answers were written at once."""
        alone = step_s / (1.0 + self.crowding * (together - 1.0))
        self.steps.append(alone)
        del self.steps[:-WINDOW]
        if together > 1.0:
            x, y = together - 1.0, step_s / quantile(self.steps, 0.3) - 1.0
            self._xx, self._xy = self._xx * 0.98 + x * x, self._xy * 0.98 + x * y

    def saw_queue(self, ahead: int, wait_s: float) -> None:
        """A request that found so many before it waited this long for a slot."""
        seen = self._levels.setdefault(min(ahead + 1, MOST_SLOTS), [0.0, 0.0])
        waited = wait_s >= CLOSE_S
        seen[:] = seen[0] * KEPT_EVIDENCE + (not waited), seen[1] * KEPT_EVIDENCE + waited

    def saw_error(self, actual_s: float, predicted_s: float) -> None:
        """Four errors in a row to one side say that the node has changed: forget the older half."""
        error = log(max(actual_s, 1e-3) / max(predicted_s, 1e-3))
        sign = 0 if abs(error) < DRIFT else (1 if error > 0 else -1)
        self._signs = self._signs + 1 if sign and sign == self._sign else abs(sign)
        self._sign = sign
        if self._signs >= DRIFTED_IN_A_ROW:
            self._signs = 0
            for window in (self.prefill, self.steps):
                del window[: len(window) // 2]

    def slots(self) -> tuple[int, bool]:
        """How many answers at once, as most of what was seen says; and whether not more."""
        if not self._levels:
            return 1, False

        # That a number is right, those agree that had a slot within it and those that waited
        # beyond it: counted from none at all upwards, less what all have in common.
        agree = most_agree = 0.0
        best = 0
        levels = sorted(self._levels.items())
        for count, (free, waited) in levels:
            if agree >= most_agree:
                best, most_agree = count - 1, agree
            agree += free - waited
        if agree >= most_agree:
            best = levels[-1][0]
        return max(best, 1), any(waited for count, (_, waited) in levels if count > best)

    def dump(self) -> dict[str, Any]:
        """What a restart shall know."""
        return {
            "prefill": thinned(self.prefill),
            "steps": thinned(self.steps),
            "load_s": self.load_s,
            "first_byte_s": self.first_byte_s,
            "slots": [(most, *seen) for most, seen in self._levels.items()],
        }

    @classmethod
    def of(cls, kept: _Dumped) -> Pair:
        """The reverse of `dump`."""
        pair = cls()
        pair.count = REMEMBERED
        pair.prefill, pair.steps = _sound(kept.prefill)[-WINDOW:], _sound(kept.steps)[-WINDOW:]
        pair.load_s = next(iter(_sound([kept.load_s])), None)
        pair.first_byte_s = next(iter(_sound([kept.first_byte_s])), None)
        pair._levels = {
            most: [free, waited]
            for most, free, waited in kept.slots
            if 0 < most <= MOST_SLOTS and 0.0 <= free <= MOST and 0.0 <= waited <= MOST
        }
        return pair


LEAST: Final = 1e-9
MOST: Final = 1e9
"""Of what a restart is told: within these no formula divides by zero, whoever wrote it."""


class _Dumped(msgspec.Struct):
    prefill: list[float] = []
    steps: list[float] = []
    load_s: float | None = None
    first_byte_s: float | None = None
    slots: list[tuple[int, float, float]] = []


class _Told(msgspec.Struct):
    pairs: dict[str, dict[str, _Dumped]]
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
            if len(_sound(numbers)) == len(numbers):
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


def quantile(samples: list[float], share: float) -> float:
    """The sample below which about this share of them lies."""
    return sorted(samples)[int(share * (len(samples) - 1) + 0.5)]


def _sound(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None and LEAST <= value <= MOST]


def thinned(samples: list[float]) -> list[float]:
    """Some samples that stand for all, evenly from the least to the greatest."""
    if len(samples) <= REMEMBERED:
        return list(samples)
    return [quantile(samples, part / (REMEMBERED - 1)) for part in range(REMEMBERED)]
