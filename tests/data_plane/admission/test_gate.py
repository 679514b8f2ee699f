"""Memory for bodies and the retry budget."""

import pytest

from data_plane.admission.gate import Gate, NoRoomError


def test_bodies_share_one_budget_and_give_it_back() -> None:
    gate = Gate(100)
    with gate.claim() as claim:
        claim.grow_to(60)
        claim.grow_to(40)
        assert gate.body_bytes == 60
        with pytest.raises(NoRoomError), gate.claim() as other:
            other.grow_to(41)
        assert gate.body_bytes == 60
    assert gate.body_bytes == 0


def test_giving_back_twice_counts_once() -> None:
    gate = Gate(100)
    claim = gate.claim()
    claim.grow_to(10)
    claim.release()
    claim.release()
    assert gate.body_bytes == 0


def test_a_fifth_of_the_requests_may_be_retrying_and_three_always() -> None:
    gate = Gate(0)
    gate.retrying = 2
    assert gate.may_retry()
    gate.retrying = 3
    assert not gate.may_retry()
    gate.in_flight = 100
    assert gate.may_retry()
    gate.retrying = 20
    assert not gate.may_retry()
