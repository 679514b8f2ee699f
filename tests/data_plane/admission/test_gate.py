"""Memory for bodies and the retry budget."""

import pytest

from data_plane.admission.gate import Gate, NoRoomError


def test_bodies_share_one_budget_and_give_it_back(tmp_path) -> None:
    gate = Gate(100, 100, tmp_path, max_active=1, max_connections=1)
    with gate.claim() as claim:
        claim.grow_to(60)
        claim.grow_to(40)
        assert gate.body_bytes == 60
        with pytest.raises(NoRoomError), gate.claim() as other:
            other.grow_to(41)
        assert gate.body_bytes == 60
    assert gate.body_bytes == 0


def test_giving_back_twice_counts_once(tmp_path) -> None:
    gate = Gate(100, 100, tmp_path, max_active=1, max_connections=1)
    claim = gate.claim()
    claim.grow_to(10)
    claim.release()
    claim.release()
    assert gate.body_bytes == 0


def test_a_fifth_of_the_requests_may_be_retrying_and_three_always(tmp_path) -> None:
    gate = Gate(0, 0, tmp_path, max_active=1, max_connections=1)
    gate.retrying = 2
    assert gate.may_retry()
    gate.retrying = 3
    assert not gate.may_retry()
    gate.in_flight = 100
    assert gate.may_retry()
    gate.retrying = 20
    assert not gate.may_retry()


def test_a_body_that_goes_to_disk_leaves_memory_and_comes_back_whole(tmp_path) -> None:
    class Spool:
        closed = 0

        def close(self) -> None:
            self.closed += 1

    gate, spool = Gate(100, 1_000, tmp_path, max_active=1, max_connections=1), Spool()
    with gate.claim() as claim:
        claim.grow_to(60)
        claim.moves_to(spool)
        claim.spool_to(900)
        claim.spool_to(800)
        assert (gate.body_bytes, gate.spool_bytes) == (0, 900)
        with pytest.raises(NoRoomError):
            claim.spool_to(1_001)
    assert (gate.body_bytes, gate.spool_bytes, spool.closed) == (0, 0, 1)
