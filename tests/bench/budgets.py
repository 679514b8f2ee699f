"""The budgets of budgets.toml, held against what was measured."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from figures import Figures

CHOOSING = "choosing_per_doubling_us"  # of the fleet; the one measure that is not a column's


class Standing(StrEnum):
    """What became of a budget."""

    KEPT = "kept"
    BROKEN = "BROKEN"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True)
class Budget:
    """One line that must not be crossed, and why it lies there."""

    name: str
    measure: str
    at_most: float
    reason: str
    relative_to: tuple[str, ...] = ()  # peers; none: at_most is in the measure's own unit
    relative_measure: str = ""  # the peer's measure, where it has another name
    stretch: float | None = None


@dataclass(frozen=True)
class Verdict:
    """One budget in one run."""

    budget: Budget
    standing: Standing
    text: str

    def __str__(self) -> str:
        return f"{self.standing:10}  {self.budget.name}: {self.text}"


def load(path: Path) -> list[Budget]:
    """Read the file; a key or a measure that there is not stops the run."""
    entries = tomllib.loads(path.read_text(encoding="utf-8"))["budget"]
    return [
        Budget(**{**entry, "relative_to": tuple(entry.get("relative_to", ()))}) for entry in entries
    ]


def per_doubling(costs: Mapping[int, float]) -> float | None:
    """How much the dearest fleet costs more than the smallest, spread over the doublings between.

    A cost that grows logarithmically gives the same however large the fleets are; one that grows
    linearly gives many times more.
    """
    if len(costs) < 2:
        return None
    smallest, largest = min(costs), max(costs)
    return (costs[largest] - costs[smallest]) / math.log2(largest / smallest)


def judge(
    budgets: Sequence[Budget],
    columns: Mapping[str, Figures],
    ours: str,
    choosing: Mapping[int, float],
) -> list[Verdict]:
    """Every budget, once for each peer that it names."""
    return [verdict for budget in budgets for verdict in _verdicts(budget, columns, ours, choosing)]


def _verdicts(
    budget: Budget, columns: Mapping[str, Figures], ours: str, choosing: Mapping[int, float]
) -> Iterator[Verdict]:
    if budget.measure == CHOOSING:
        value = per_doubling(choosing)
    else:
        value = columns[ours].value(budget.measure) if ours in columns else None
    if value is None:
        yield Verdict(budget, Standing.NOT_JUDGED, "not measured")
        return
    if not budget.relative_to:
        yield _verdict(budget, value, "")
    for peer in budget.relative_to:
        measure = budget.relative_measure or budget.measure
        base = columns[peer].value(measure) if peer in columns else None
        if not base or base < 0:
            yield Verdict(budget, Standing.NOT_JUDGED, f"nothing to compare with {peer}")
        else:
            yield _verdict(budget, value / base, f"x {peer}")


def _verdict(budget: Budget, value: float, unit: str) -> Verdict:
    standing = Standing.KEPT if value <= budget.at_most else Standing.BROKEN
    goal = f", stretch {budget.stretch:g}" if budget.stretch is not None else ""
    return Verdict(budget, standing, f"{value:,.2f}{unit} (at most {budget.at_most:g}{goal})")
