"""What was learned of one node with one model.

One sample is one answer; sixteen are kept, so that a node which changes is soon known anew.
"""

from __future__ import annotations

from math import inf, log
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

WINDOW: Final = 16
REMEMBERED: Final = 4
"""Samples that a restart keeps of a full window: new ones soon outweigh them."""

PRIOR_CROWDING: Final = 0.2
CROWDING_WEIGHT: Final = 4.0
CLOSE_S: Final = 0.05
"""A wait that is shorter was none."""

KEPT_EVIDENCE: Final = 0.8
"""Of what was seen before, with each further request: the last eight or so decide."""

MOST_SLOTS: Final = 64
"""Nobody has more; and as many are all that is worth telling apart."""

DRIFT: Final = log(1.8)
DRIFTED_IN_A_ROW: Final = 4

LEAST: Final = 1e-9
MOST: Final = 1e9
"""Of what a restart is told: within these no formula divides by zero, whoever wrote it."""


def moved(previous: float | None, sample: float, weight: float) -> float:
    """The next value of a moving mean."""
    return sample if previous is None else previous + weight * (sample - previous)


class Dumped(msgspec.Struct):
    """What `Pair.dump` told."""

    prefill: list[float] = []
    steps: list[float] = []
    load_s: float | None = None
    first_byte_s: float | None = None
    slots: list[tuple[int, float, float]] = []


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
    def of(cls, kept: Dumped) -> Pair:
        """The reverse of `dump`."""
        pair = cls()
        pair.count = REMEMBERED
        pair.prefill, pair.steps = sound(kept.prefill)[-WINDOW:], sound(kept.steps)[-WINDOW:]
        pair.load_s = next(iter(sound([kept.load_s])), None)
        pair.first_byte_s = next(iter(sound([kept.first_byte_s])), None)
        pair._levels = {
            most: [free, waited]
            for most, free, waited in kept.slots
            if 0 < most <= MOST_SLOTS and 0.0 <= free <= MOST and 0.0 <= waited <= MOST
        }
        return pair


def quantile(samples: list[float], share: float) -> float:
    """The sample below which about this share of them lies."""
    return sorted(samples)[int(share * (len(samples) - 1) + 0.5)]


def sound(values: Iterable[float | None]) -> list[float]:
    """Those that a formula can be trusted with."""
    return [value for value in values if value is not None and LEAST <= value <= MOST]


def thinned(samples: list[float]) -> list[float]:
    """Some samples that stand for all, evenly from the least to the greatest."""
    if len(samples) <= REMEMBERED:
        return list(samples)
    return [quantile(samples, part / (REMEMBERED - 1)) for part in range(REMEMBERED)]
