from __future__ import annotations

from control_plane.common.reports import Instance
from control_plane.publishing.selectors import Applied, acknowledgements
from shared.reports import RefusedRevision, Report

NOW = 1_000.0


def instance(
    epoch: str = "e",
    revision: int = 7,
    seen_at: float = NOW,
    refused: RefusedRevision | None = None,
) -> Instance:
    report = Report(
        instance="a",
        version="1",
        host="h",
        pid=1,
        started_at=0.0,
        reported_at=seen_at,
        epoch=epoch,
        revision=revision,
        ready=True,
        draining=False,
        requests_total=0,
        nodes={},
        refused=refused,
    )
    return Instance("a", seen_at, report)


def applied(one: Instance) -> Applied:
    return acknowledgements([one], "e", 7, NOW)[0].applied


def test_each_instance_is_current_behind_or_elsewhere() -> None:
    assert applied(instance()) is Applied.CURRENT
    assert applied(instance(revision=8)) is Applied.CURRENT  # newer than what we read before
    assert applied(instance(revision=6)) is Applied.BEHIND
    assert applied(instance(epoch="other")) is Applied.FOREIGN_EPOCH
    assert applied(instance(epoch="")) is Applied.NOTHING


def test_an_instance_without_a_report_of_late_is_silent() -> None:
    assert applied(Instance("a", NOW - 60, None)) is Applied.SILENT
    assert applied(instance(seen_at=NOW - 16)) is Applied.SILENT


def test_a_refusal_is_told_with_its_reason() -> None:
    refused = RefusedRevision(epoch="e", revision=8, reason="bad_hash")
    (line,) = acknowledgements([instance(refused=refused)], "e", 8, NOW)
    assert line.refused == refused
    assert line.applied is Applied.BEHIND
