"""Idle connections: the one used last in front, and none of them for ever."""

import asyncio

import pytest

from data_plane.upstream import pool as pools
from data_plane.upstream.pool import Pool

pytestmark = pytest.mark.interpreted  # compiled, a pool takes no stand-in for a connection


class Idle:
    """As much of a connection as a pool touches."""

    def __init__(self) -> None:
        self.is_open = True
        self.idle_since = 0.0

    def abort(self) -> None:
        self.is_open = False


async def test_the_connection_used_last_is_used_first() -> None:
    pool, first, second = Pool(), Idle(), Idle()
    pool.rests(first, True)
    pool.rests(second, True)
    assert (pool.take(), pool.take(), pool.take()) == (second, first, None)
    pool.close()


async def test_a_connection_that_its_node_has_closed_is_passed_over() -> None:
    pool, good, closed = Pool(), Idle(), Idle()
    pool.rests(good, True)
    pool.rests(closed, True)
    closed.is_open = False
    assert pool.take() is good
    pool.close()


async def test_cold_connections_are_closed(monkeypatch) -> None:
    monkeypatch.setattr(pools, "IDLE_CONNECTION_S", 0.05)
    pool, cold, warm = Pool(), Idle(), Idle()
    pool.rests(cold, True)
    await asyncio.sleep(0.03)
    pool.rests(warm, True)
    await asyncio.sleep(0.03)
    assert (cold.is_open, warm.is_open) == (False, True)
    await asyncio.sleep(0.05)
    assert not warm.is_open
    pool.close()


@pytest.mark.parametrize("is_closed", [True, False])
async def test_no_more_is_kept_than_may_be(monkeypatch, is_closed) -> None:
    monkeypatch.setattr(pools, "MAX_IDLE", 1)
    pool, first, second = Pool(), Idle(), Idle()
    pool.rests(first, True)
    if is_closed:
        pool.close()
        assert not first.is_open
    pool.rests(second, True)
    assert not second.is_open
    pool.close()
