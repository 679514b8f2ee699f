"""Whether the simulator and real sockets rank the contenders alike."""

from __future__ import annotations

from statistics import fmean, median
from typing import TYPE_CHECKING, Final

from routing.metrics import figures_of
from routing.ours import OURS
from routing.rules import PEERS
from routing.simulate import run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from routing.contenders import Contender
    from routing.metrics import Figures
    from routing.rules import Asked
    from routing.scenarios import Scenario

MEASURES: Final = ("ttft_mean", "e2e_mean", "loads")
FEWEST: Final = 3  # of two, a ranking says nothing
DIGITS: Final = 2  # of a simulated second: closer ones are equal


def simulated(
    scenario: Scenario, asked: list[Asked], contenders: Sequence[Contender], seed: int
) -> dict[str, Figures]:
    """The rules of these contenders, with the very same requests."""
    rules = {**PEERS, **OURS}
    wanted = dict.fromkeys(contender.rule for contender in contenders)
    return {name: figures_of(run(scenario, asked, rules[name], seed)) for name in wanted}


def of(
    real: Mapping[str, Figures],
    simulated: Mapping[str, Figures],
    contenders: Sequence[Contender],
) -> dict[str, float]:
    """Spearman's coefficient by measure: contenders of one rule count once, by their median."""
    by_rule: dict[str, list[Figures]] = {}
    for contender in contenders:
        if contender.name in real:
            by_rule.setdefault(contender.rule, []).append(real[contender.name])
    if len(by_rule) < FEWEST:
        return {}
    return {
        measure: spearman(
            [round(getattr(simulated[rule], measure), DIGITS) for rule in by_rule],
            [median(getattr(figures, measure) for figures in each) for each in by_rule.values()],
        )
        for measure in MEASURES
    }


def spearman(first: Sequence[float], second: Sequence[float]) -> float:
    """1: the same order; -1: the reverse; equals share their rank. 0 where all are equal."""
    one, other = ranks(first), ranks(second)
    mean = fmean(one)
    together = sum((a - mean) * (b - mean) for a, b in zip(one, other, strict=True))
    alone = sum((a - mean) ** 2 for a in one) * sum((b - mean) ** 2 for b in other)
    return together / alone**0.5 if alone else 0.0


def ranks(values: Sequence[float]) -> list[float]:
    """Of each value, from 1; of equals the mean."""
    ordered = sorted(values)
    return [
        fmean(place for place, other in enumerate(ordered, 1) if other == value) for value in values
    ]
