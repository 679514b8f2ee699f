"""Every outcome of a probe tells the operator what to do next."""

from shared.events import CURES, ProbeOutcome, ProbeResult


def test_every_outcome_has_a_cure() -> None:
    assert set(CURES) == set(ProbeOutcome)


def test_only_ok_is_ok() -> None:
    assert [outcome for outcome in ProbeOutcome if ProbeResult(outcome=outcome).is_ok] == [
        ProbeOutcome.OK
    ]


def test_the_detail_is_the_cure() -> None:
    assert "OLLAMA_HOST" in ProbeResult(outcome=ProbeOutcome.REFUSED).detail
