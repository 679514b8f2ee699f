from __future__ import annotations

import pytest

from control_plane.nodes.health import Health, judge
from shared.events import ProbeOutcome, ProbeResult
from shared.snapshot import Verdict

GOOD = ProbeResult(outcome=ProbeOutcome.OK, latency_s=0.1)
BAD = ProbeResult(outcome=ProbeOutcome.TIMEOUT)
SETTLED = Health(verdict=Verdict.HEALTHY, is_fresh=False, latency_s=0.1)
DOWN = Health(verdict=Verdict.UNHEALTHY, reason="timeout", is_fresh=False, failures=3)


def after(health: Health, probes: str) -> Health:
    for probe in probes:
        health = judge(health, GOOD if probe == "+" else BAD, fall=3, rise=2)
    return health


@pytest.mark.parametrize(
    ("start", "probes", "verdict"),
    [
        (Health(), "+", Verdict.HEALTHY),
        (Health(), "-", Verdict.UNHEALTHY),
        (Health(), "--+", Verdict.HEALTHY),
        (SETTLED, "--", Verdict.HEALTHY),
        (SETTLED, "---", Verdict.UNHEALTHY),
        (SETTLED, "--+--", Verdict.HEALTHY),
        (DOWN, "+", Verdict.UNHEALTHY),
        (DOWN, "++", Verdict.HEALTHY),
        (DOWN, "+-+-+-", Verdict.UNHEALTHY),
        (SETTLED, "---+", Verdict.UNHEALTHY),
    ],
)
def test_probes_in_a_row_make_the_verdict(start: Health, probes: str, verdict: Verdict) -> None:
    assert after(start, probes).verdict is verdict


def test_a_fresh_node_stays_fresh_until_a_probe_succeeds() -> None:
    assert after(Health(), "-----").is_fresh
    assert not after(Health(), "-----+").is_fresh


def test_a_node_taken_down_carries_the_reason_and_a_healthy_one_none() -> None:
    assert after(SETTLED, "---").reason == "timeout"
    assert after(SETTLED, "--").reason == ""
    assert after(DOWN, "++").reason == ""


def test_an_address_that_our_rules_refuse_is_down_at_once() -> None:
    refused = ProbeResult(outcome=ProbeOutcome.ADDRESS_NOT_ALLOWED)
    health = judge(SETTLED, refused, fall=3, rise=2)
    assert (health.verdict, health.reason) == (Verdict.UNHEALTHY, "address_not_allowed")


def test_latency_is_averaged_and_starts_anew_for_a_fresh_node() -> None:
    slow = ProbeResult(outcome=ProbeOutcome.OK, latency_s=1.1)
    assert judge(SETTLED, slow, fall=3, rise=2).latency_s == pytest.approx(0.4)
    fresh = Health(latency_s=0.1)
    assert judge(fresh, slow, fall=3, rise=2).latency_s == pytest.approx(1.1)
    assert judge(SETTLED, BAD, fall=3, rise=2).latency_s == pytest.approx(0.1)


def test_counters_do_not_grow_for_ever() -> None:
    assert after(DOWN, "-" * 1_100).failures == 1_000
