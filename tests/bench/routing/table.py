"""A scenario's outcome as text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from routing.compare import Outcome
    from routing.metrics import Figures

HEAD: Final = (
    f"{'':26}{'TTFT mean':>10}{'p50':>8}{'p99':>8}{'E2E p50':>9}{'p99':>8}"
    f"{'goodput':>9}{'loads':>7}{'hits':>7}{'Jain':>6}{'misses':>8}"
)
SHOWN_FAULTS: Final = 2


def shown(outcome: Outcome, *, late_s: float) -> str:
    """Sockets above, the simulator's word on the same requests below."""
    lines = [f"{outcome.scenario.name}: {outcome.scenario.title} (seed {outcome.seed})", HEAD]
    for name, figures in outcome.figures.items():
        lines.append(_row(name, figures) + f"{len(outcome.faults[name]):8}")
    lines.append("  in the simulator")
    lines += [_row(f"  {name}", figures) for name, figures in outcome.simulated.items()]
    lines += [f"absent      {name}: {why}" for name, why in outcome.absent.items()]
    for name, faults in outcome.faults.items():
        lines += [f"missed      {name}: {fault}" for fault in faults[:SHOWN_FAULTS]]
    if outcome.agreement:
        pairs = ", ".join(f"{name} {rho:.2f}" for name, rho in outcome.agreement.items())
        lines.append(f"rank agreement of sockets and simulator (Spearman): {pairs}")
    if outcome.late_s > late_s:
        lines.append(f"the machine was too busy: a node was {outcome.late_s:.2f} s late")
    return "\n".join(lines)


def _row(name: str, figures: Figures) -> str:
    return (
        f"{name:26}{figures.ttft_mean:10.2f}{figures.ttft_p50:8.2f}{figures.ttft_p99:8.2f}"
        f"{figures.e2e_p50:9.2f}{figures.e2e_p99:8.2f}{figures.goodput:9.0%}"
        f"{figures.loads:7.0f}{figures.hits:7.0%}{figures.fairness:6.2f}"
    )
