"""A lease lives as long as its answer, and cannot be forgotten."""

import asyncio

import pytest

from data_plane.host.board import Board, HostCounts
from data_plane.upstream.faults import Fault, NodeFailedError
from data_plane.upstream.lease import Lease, Leases


def test_a_lease_counts_while_it_is_held() -> None:
    leases = Leases()
    lease = leases.take("n1", 0.0)
    assert leases.counts == {"n1": 1}
    lease.release()
    lease.release()
    assert leases.counts == {}
    assert len(leases) == 0


async def test_an_error_inside_gives_the_place_back() -> None:
    leases = Leases()
    with pytest.raises(ZeroDivisionError), leases.take("n1", 0.0):
        raise ZeroDivisionError
    assert leases.counts == {}


def test_other_instances_count_as_well() -> None:
    leases = Leases()
    leases.others_reported({"n1": 2, "n2": 1})
    lease = leases.take("n1", 0.0)
    assert leases.counts == {"n1": 3, "n2": 1}
    leases.others_reported({"n1": 1})
    assert leases.counts == {"n1": 2}
    assert leases.own_counts() == {"n1": 1}
    lease.release()
    assert leases.counts == {"n1": 1}


def test_workers_of_one_host_count_together() -> None:
    board = Board(2)
    first, second = (Leases(HostCounts(board, number)) for number in (1, 2))
    held = [first.take("n1", 0.0), first.take("n1", 0.0), second.take("n2", 0.0)]
    second.others_reported({"n1": 5})
    assert first.counts == {"n1": 2, "n2": 1}
    assert second.counts == {"n1": 7, "n2": 1}
    for lease in held:
        lease.release()
        lease.release()
    assert first.counts == {}
    assert second.counts == {"n1": 5}


async def hold(leases: Leases, held: asyncio.Future[Lease]) -> None:
    with leases.take("n1", 0.0) as lease:
        held.set_result(lease)
        await asyncio.Event().wait()


async def test_letting_go_raises_the_fault_where_the_lease_is_held() -> None:
    leases, held = Leases(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(hold(leases, held))
    (await held).let_go(Fault.NODE_DOWN)
    with pytest.raises(NodeFailedError) as caught:
        await task
    assert caught.value.fault is Fault.NODE_DOWN
    assert leases.counts == {}


async def test_a_client_that_leaves_at_the_same_moment_stays_gone() -> None:
    leases, held = Leases(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(hold(leases, held))
    (await held).let_go(Fault.NODE_DOWN)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert leases.counts == {}


async def test_letting_go_twice_or_too_late_does_nothing() -> None:
    leases, held = Leases(), asyncio.get_running_loop().create_future()
    task = asyncio.create_task(hold(leases, held))
    lease = await held
    lease.let_go(Fault.STALLED)
    lease.let_go(Fault.SHUTDOWN)
    with pytest.raises(NodeFailedError, match="stalled"):
        await task
    lease.let_go(Fault.SHUTDOWN)
    await asyncio.sleep(0)
