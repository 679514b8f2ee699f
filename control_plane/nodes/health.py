"""When a node counts as healthy: probes in, verdict out.

Rules:
- `fall` failed probes in a row take a healthy node down, `rise` good ones bring it back.
- A node that an operator has just added or changed is fresh: the next probe alone decides, because
  the operator is waiting, and what was counted before was counted against something else.
  It stays fresh until a probe succeeds, so that a node registered before it was started is used
  as soon as it runs.
- An address that our own rules refuse is down at once: that is no weather that may pass.

Pure: no clock, no database, no network.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from shared.events import ProbeOutcome
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from shared.events import ProbeResult

LATENCY_WEIGHT: Final = 0.3
"""Share of the newest round trip in the average: one slow answer does not move traffic, five do."""

MAX_COUNT: Final = 1_000
"""Counters stop here; nothing asks for more than 20."""


@dataclass(frozen=True, slots=True)
class Health:
    """What we hold of one node between two probes."""

    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    """`ProbeOutcome` of the last failed probe while the node is unhealthy, else ""."""

    failures: int = 0
    """Failed probes in a row."""

    successes: int = 0
    """Good probes in a row."""

    is_fresh: bool = True
    latency_s: float | None = None


def judge(health: Health, probe: ProbeResult, *, fall: int, rise: int) -> Health:
    """The health after one more probe."""
    return (
        _after_success(health, probe, rise) if probe.is_ok else _after_failure(health, probe, fall)
    )


def _after_success(health: Health, probe: ProbeResult, rise: int) -> Health:
    successes = min(health.successes + 1, MAX_COUNT)
    latency_s = _average(health, probe.latency_s)
    if health.verdict is Verdict.HEALTHY or health.is_fresh or successes >= rise:
        return Health(
            verdict=Verdict.HEALTHY, successes=successes, is_fresh=False, latency_s=latency_s
        )
    return replace(health, failures=0, successes=successes, latency_s=latency_s)


def _after_failure(health: Health, probe: ProbeResult, fall: int) -> Health:
    failures = min(health.failures + 1, MAX_COUNT)
    is_down = (
        health.verdict is Verdict.UNHEALTHY
        or health.is_fresh
        or failures >= fall
        or probe.outcome is ProbeOutcome.ADDRESS_NOT_ALLOWED
    )
    return replace(
        health,
        verdict=Verdict.UNHEALTHY if is_down else health.verdict,
        reason=probe.outcome.value if is_down else health.reason,
        failures=failures,
        successes=0,
    )


def _average(health: Health, latency_s: float | None) -> float | None:
    if latency_s is None or health.latency_s is None or health.is_fresh:
        return latency_s if latency_s is not None else health.latency_s
    return health.latency_s + LATENCY_WEIGHT * (latency_s - health.latency_s)
