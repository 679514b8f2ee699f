"""Reports survive the trip, and an unreadable one is no error."""

import pytest

from shared import reports
from shared.reports import NodeReport, RefusedRevision, Report


def test_a_report_survives_the_trip() -> None:
    report = Report(
        instance="a",
        version="1",
        host="h",
        pid=1,
        started_at=1.0,
        reported_at=2.0,
        epoch="e",
        revision=3,
        ready=True,
        draining=False,
        requests_total=9,
        nodes={"n1": NodeReport(active_count=2, latency_s=0.01, standby="refused")},
        refused=RefusedRevision(epoch="e", revision=2, reason="older_revision"),
        refresh_wanted=("n1",),
    )
    assert reports.decode(reports.encode(report)) == report


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b'{"instance":1}'])
def test_an_unreadable_report_is_none(data: bytes) -> None:
    assert reports.decode(data) is None
