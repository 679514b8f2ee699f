"""Every rule in every scenario, in the simulator: the same requests for all, seed by seed.

    choosing.py simulator [--quick] [--scenarios S3,H1] [--seeds 5] [--count 1500]

Prints a table for each scenario, where we are no better than
others, and the verdicts on the bars; exits with 1 when one is broken that was not known to be.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from routing import bars
from routing.metrics import Figures, best_of, figures_of, interval, mean_of, ratio
from routing.ours import OURS
from routing.rules import PEERS
from routing.simulate import asked_of, run
from routing.suite import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).resolve().parent
RESULTS: Final = HERE.parent / "results"
COUNT, SEEDS = 1_500, 5
QUICK_SEEDS, QUICK_SCENARIOS = 3, "S3,H1,H4,H12,H14"
TIE: Final = 0.95  # a ratio above this is no win
SHOWN: Final = ("ttft_mean", "ttft_p99", "e2e_p99", "goodput")

HEAD: Final = (
    f"{'':26}{'TTFT mean':>10} {'95 %':<14}{'p50':>6}{'p99':>8}{'E2E p50':>9}{'p99':>8}"
    f"{'goodput':>9}{'loads':>7}{'hits':>6}{'Jain':>6}"
)

BySeed = dict[str, list[Figures]]


def tried(name: str, seed: int, count: int) -> dict[str, Figures]:
    """Every rule once, with the same requests."""
    scenario = BY_NAME[name]
    asked = asked_of(scenario, seed, count)
    return {
        rule: figures_of(run(scenario, asked, rule_of, seed))
        for rule, rule_of in {**PEERS, **OURS}.items()
    }


def all_tried(names: Sequence[str], seeds: int, count: int) -> dict[str, BySeed]:
    """By scenario, by rule, by seed; as many at once as there are cores."""
    jobs = [(name, seed) for name in names for seed in range(1, seeds + 1)]
    found: dict[str, BySeed] = {name: {} for name in names}
    with ProcessPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        waiting = [(name, pool.submit(tried, name, seed, count)) for name, seed in jobs]
        for name, future in waiting:
            for rule, figures in future.result().items():
                found[name].setdefault(rule, []).append(figures)
    return found


def table(name: str, by_rule: BySeed) -> str:
    """One scenario, a row for each rule: means over the seeds."""
    scenario = BY_NAME[name]
    kind = "held out" if scenario.held_out else "looked at while tuning"
    rows = [f"{name}: {scenario.title} ({kind})", HEAD]
    for rule, several in by_rule.items():
        low, high = interval([each.ttft_mean for each in several])
        mean = {key: mean_of(several, key) for key in Figures.__dataclass_fields__}
        rows.append(
            f"{rule:26}{mean['ttft_mean']:10.2f} {f'[{low:.2f}, {high:.2f}]':<14}"
            f"{mean['ttft_p50']:6.2f}{mean['ttft_p99']:8.2f}{mean['e2e_p50']:9.2f}"
            f"{mean['e2e_p99']:8.2f}{mean['goodput']:9.1%}{mean['loads']:7.0f}"
            f"{mean['hits']:6.0%}{mean['fairness']:6.2f}"
        )
    return "\n".join(rows)


def not_won(name: str, by_rule: BySeed) -> list[str]:
    """Where the best of others is as good as `predicted`, or better."""
    found = []
    for measure in SHOWN:
        ours, best = bars.JUDGED, max if measure == "goodput" else min
        peer = best_of(by_rule, list(PEERS), measure, best)
        first, second = (ours, peer) if best is min else (peer, ours)
        against = ratio(by_rule[first], by_rule[second], measure)
        if against.mean > TIE:
            word = "lose" if against.low > 1.0 else "win, hardly" if against.high < 1.0 else "tie"
            values = [mean_of(by_rule[who], measure) for who in (ours, peer)]
            found.append(
                f"{word:12} {name:4} {measure}: {values[0]:.2f}, {peer} {values[1]:.2f}"
                f" (ratio {against})"
            )
    return found


def main() -> int:
    """Run, print, keep, judge."""
    options = arguments()
    began = time.monotonic()
    found = all_tried(options.names, options.seeds, options.count)
    sys.stdout.write("\n\n".join(table(name, each) for name, each in found.items()) + "\n\n")
    ties = [line for name, each in found.items() for line in not_won(name, each)]
    limits = bars.load(HERE / "bars.toml")
    verdicts = [v for name, each in found.items() for v in bars.judge(limits, BY_NAME[name], each)]
    verdicts += bars.judge_kinds(limits, found)
    sys.stdout.write("\n".join([*ties, "", *map(str, verdicts)]) + "\n")
    took_s = time.monotonic() - began
    sys.stdout.write(
        f"{options.seeds} seeds of {options.count} requests in {took_s:.0f} s;"
        f" mean and interval of 95 %; ratios are to the best rule of others in each measure\n"
    )
    write(options, found, ties, [str(verdict) for verdict in verdicts])
    return 1 if any(not verdict.is_kept and not verdict.is_known for verdict in verdicts) else 0


def arguments() -> argparse.Namespace:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(description="How well each rule chooses, in the simulator")
    parser.add_argument("--quick", action="store_true", help="a few scenarios, in two minutes")
    parser.add_argument("--scenarios", default="", help="these of suite.py")
    parser.add_argument("--seeds", type=int, default=0)
    parser.add_argument("--count", type=int, default=0, help="requests of each scenario")
    parser.add_argument("--output", type=Path, help="where to write the result (JSON)")
    options = parser.parse_args()
    quick = options.quick
    options.names = (options.scenarios or (QUICK_SCENARIOS if quick else ",".join(BY_NAME))).split(
        ","
    )
    options.seeds = options.seeds or (QUICK_SEEDS if quick else SEEDS)
    options.count = options.count or COUNT
    unknown = set(options.names) - set(BY_NAME)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there is no such scenario in suite.py")
    return options


def write(
    options: argparse.Namespace, found: dict[str, BySeed], ties: list[str], verdicts: list[str]
) -> None:
    """Keep the result; a partial one only where it was asked for."""
    now = datetime.now(tz=UTC)
    path = options.output
    if path is None:
        if options.scenarios:
            return
        path = RESULTS / f"{now:%Y-%m-%d}-routing-simulator{'-quick' if options.quick else ''}.json"
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "seeds": options.seeds,
        "requests": options.count,
        "scenarios": {name: kept(by_rule) for name, by_rule in found.items()},
        "not_won": ties,
        "bars": verdicts,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    sys.stderr.write(f"bench-routing: written to {path}\n")


def kept(by_rule: BySeed) -> dict[str, Any]:
    """Means over the seeds, without digits that mean nothing."""
    return {
        rule: {key: round(mean_of(several, key), 3) for key in asdict(several[0])}
        for rule, several in by_rule.items()
    }
