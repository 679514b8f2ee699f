"""What is read off a trial, and off several that are the same but for the dice."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from statistics import fmean
from typing import TYPE_CHECKING, Final

from routing.scenarios import seeded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from routing.simulate import Answer, Trial

WARM_UP: Final = 0.1  # of the requests, the first: not measured
TTFT_S, TTFT_PER_TOKEN_S, TOKEN_S = 2.0, 1 / 500, 0.2  # what a user puts up with
RESAMPLES: Final = 2_000
HOG: Final = "hog"


@dataclass(frozen=True)
class Figures:
    """Of one rule, one scenario and one seed. Times are seconds, shares are of all requests."""

    ttft_mean: float
    ttft_p50: float
    ttft_p99: float
    e2e_mean: float
    e2e_p50: float
    e2e_p99: float
    goodput: float
    """Answers that were whole, and in time, over all requests."""

    loads: float
    hits: float
    """Of all prompt tokens, those that a node had in its cache."""

    fairness: float
    """Jain's index of the mean speeds (tokens over time to the end) that principals saw."""

    tokens_per_s: float
    """Until the last answer."""

    light_ttft_p50: float
    """Of everybody but a hog."""

    decision_us_p50: float
    decision_us_p99: float


def figures_of(trial: Trial) -> Figures:
    """See above."""
    answers = trial.answers[round(len(trial.answers) * WARM_UP) :]
    whole = [answer for answer in answers if answer.is_whole]
    ttft = sorted(answer.ttft_s for answer in whole)
    e2e = sorted(answer.e2e_s for answer in whole)
    light = sorted(a.ttft_s for a in whole if a.asked.request.principal != HOG)
    decisions = sorted(trial.decisions_us)
    return Figures(
        ttft_mean=fmean(ttft),
        ttft_p50=quantile(ttft, 0.5),
        ttft_p99=quantile(ttft, 0.99),
        e2e_mean=fmean(e2e),
        e2e_p50=quantile(e2e, 0.5),
        e2e_p99=quantile(e2e, 0.99),
        goodput=sum(map(_is_good, answers)) / len(answers),
        loads=trial.loads,
        hits=sum(a.cached for a in whole) / sum(a.asked.tokens for a in whole),
        fairness=_jain(whole),
        tokens_per_s=sum(a.asked.request.output_tokens for a in trial.answers if a.is_whole)
        / trial.ended_at,
        light_ttft_p50=quantile(light, 0.5),
        decision_us_p50=quantile(decisions, 0.5),
        decision_us_p99=quantile(decisions, 0.99),
    )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The value below which this share of them lies; `ordered` is."""
    return ordered[int(share * (len(ordered) - 1))] if ordered else inf


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The mean is within these with 95 %, by drawing from the values again and again."""
    dice = seeded(1)
    means = sorted(fmean(dice.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return quantile(means, 0.025), quantile(means, 0.975)


def mean_of(several: Sequence[Figures], measure: str) -> float:
    """Of the seeds."""
    return fmean(getattr(figures, measure) for figures in several)


def ratios(ours: Sequence[Figures], theirs: Sequence[Figures], measure: str) -> list[float]:
    """Seed by seed, as both had the same requests."""
    pairs = [
        (getattr(one, measure), getattr(other, measure))
        for one, other in zip(ours, theirs, strict=True)
    ]
    return [mine / its if its else (inf if mine else 1.0) for mine, its in pairs]


def ratio(ours: Sequence[Figures], theirs: Sequence[Figures], measure: str) -> Ratio:
    """The mean over the seeds."""
    each = ratios(ours, theirs, measure)
    return Ratio(fmean(each), *interval(each))


@dataclass(frozen=True)
class Ratio:
    """The mean of a ratio over seeds, and its interval of 95 %."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.2f} [{self.low:.2f}, {self.high:.2f}]"


def _is_good(answer: Answer) -> bool:
    if not answer.is_whole:
        return False
    between_s = answer.ended_at - answer.first_at
    tokens = max(answer.asked.request.output_tokens, 1)
    limit_s = TTFT_S + answer.asked.tokens * TTFT_PER_TOKEN_S
    return answer.ttft_s <= limit_s and between_s <= TOKEN_S * tokens


def _jain(answers: Sequence[Answer]) -> float:
    speeds: dict[str, list[float]] = {}
    for answer in answers:
        tokens = answer.asked.tokens + answer.asked.request.output_tokens
        speeds.setdefault(answer.asked.request.principal, []).append(tokens / answer.e2e_s)
    means = [fmean(each) for each in speeds.values()]
    return sum(means) ** 2 / (len(means) * sum(mean**2 for mean in means))


def best_of(
    by_rule: dict[str, list[Figures]], names: Sequence[str], measure: str, best: Callable = min
) -> str:
    """Who of these has the best mean."""
    return best(names, key=lambda name: mean_of(by_rule[name], measure))
