"""The bars of bars.toml, held against the simulator's figures."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from statistics import fmean, geometric_mean
from typing import TYPE_CHECKING, Final

from routing.metrics import Ratio, best_of, interval, mean_of, ratio, ratios
from routing.rules import PEERS
from routing.suite import SCENARIOS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from routing.metrics import Figures
    from routing.scenarios import Scenario

JUDGED: Final = "ours: predicted"
BEST: Final = "best"
ALL: Final = "all"


@dataclass(frozen=True)
class Bar:
    """What one measure has to be in all scenarios of a kind."""

    name: str
    kind: str  # Scenario.bar
    measure: str
    against: str  # a rule, or BEST: whichever is the best of others
    reason: str
    at_most: float | None = None
    at_least: float | None = None
    fewest: float = 0.0  # of theirs; with less there is nothing to compare
    known: dict[str, float] = field(default_factory=dict)  # scenarios that miss it, and by how much


@dataclass(frozen=True)
class Verdict:
    """One bar in one scenario."""

    bar: Bar
    scenario: str
    peer: str
    ratio: Ratio
    is_kept: bool
    is_known: bool

    def __str__(self) -> str:
        bar = self.bar
        limit = (
            f"at most {bar.at_most:g}" if bar.at_most is not None else f"at least {bar.at_least:g}"
        )
        said = "kept" if self.is_kept else "missed, as known" if self.is_known else "BROKEN"
        return f"{said:17} {self.scenario:4} {bar.name}: {self.ratio} x {self.peer} ({limit})"


def load(path: Path) -> list[Bar]:
    """Read the file; a key that there is not stops the run."""
    return [Bar(**entry) for entry in tomllib.loads(path.read_text(encoding="utf-8"))["bar"]]


def judge(
    bars: Sequence[Bar], scenario: Scenario, figures: Mapping[str, Sequence[Figures]]
) -> Iterator[Verdict]:
    """All bars of one scenario, if it is held out; `figures` are those of each rule, by seed."""
    if not scenario.held_out:
        return
    for bar in bars:
        if bar.kind != scenario.bar:
            continue
        is_more_better = bar.at_least is not None
        peer = bar.against
        if peer == BEST:
            peer = best_of(figures, list(PEERS), bar.measure, max if is_more_better else min)
        if mean_of(figures[peer], bar.measure) < bar.fewest:
            continue
        found = ratio(figures[JUDGED], figures[peer], bar.measure)
        yield Verdict(
            bar,
            scenario.name,
            peer,
            found,
            _keeps(bar, found.mean),
            _is_known(bar, scenario, found),
        )


def judge_kinds(
    bars: Sequence[Bar], found: Mapping[str, Mapping[str, Sequence[Figures]]]
) -> Iterator[Verdict]:
    """All bars over all scenarios of their kind that are held out, if all of them were tried: seed
    by seed the geometric mean of the ratios, each to the best of others in its scenario.
    """
    for bar in bars:
        kind = [each for each in SCENARIOS if each.held_out and each.bar == bar.kind]
        if any(each.name not in found for each in kind):
            continue
        verdicts = [v for each in kind for v in judge([bar], each, found[each.name])]
        by_seed = zip(
            *(ratios(found[v.scenario][JUDGED], found[v.scenario][v.peer], bar.measure)
              for v in verdicts),
            strict=True,
        )  # fmt: skip
        means = [geometric_mean(each) for each in by_seed]
        mean = Ratio(fmean(means), *interval(means))
        peer = f"{bar.against}'s, {len(verdicts)} scenarios"
        yield Verdict(bar, ALL, peer, mean, _keeps(bar, mean.mean), is_known=False)


def _keeps(bar: Bar, value: float) -> bool:
    if bar.at_most is not None and value > bar.at_most:
        return False
    return bar.at_least is None or value >= bar.at_least


def _is_known(bar: Bar, scenario: Scenario, found: Ratio) -> bool:
    limit = bar.known.get(scenario.name)
    if limit is None:
        return False
    return found.mean >= limit if bar.at_least is not None else found.mean <= limit
