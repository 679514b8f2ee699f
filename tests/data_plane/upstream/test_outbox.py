"""What is written in one turn of the loop leaves together."""

import asyncio

from data_plane.upstream.outbox import Outbox


class Transport(asyncio.WriteTransport):
    """What is written to it, in the order among all of them."""

    def __init__(self, order: list[tuple[object, bytes]]) -> None:
        super().__init__()
        self._order = order
        self.is_closed = False

    def write(self, data) -> None:
        self._order.append((self, data))

    def is_closing(self) -> bool:
        return self.is_closed


async def test_nothing_leaves_within_the_turn_and_everything_at_its_end() -> None:
    order: list[tuple[object, bytes]] = []
    outbox, one, other = Outbox(), Transport(order), Transport(order)
    outbox.write(one, b"a")
    outbox.write(other, b"b")
    outbox.write(one, b"c")
    assert not order
    await asyncio.sleep(0)
    assert order == [(one, b"a"), (other, b"b"), (one, b"c")]
    await asyncio.sleep(0)
    assert len(order) == 3


async def test_what_has_to_leave_now_is_flushed_once() -> None:
    order: list[tuple[object, bytes]] = []
    outbox, transport = Outbox(), Transport(order)
    outbox.write(transport, b"a")
    outbox.flush()
    assert order == [(transport, b"a")]
    outbox.write(transport, b"b")
    await asyncio.sleep(0)
    assert order == [(transport, b"a"), (transport, b"b")]


async def test_a_transport_that_closes_meanwhile_gets_nothing_and_the_others_do() -> None:
    order: list[tuple[object, bytes]] = []
    outbox, gone, there = Outbox(), Transport(order), Transport(order)
    outbox.write(gone, b"a")
    outbox.write(there, b"b")
    gone.is_closed = True
    await asyncio.sleep(0)
    assert order == [(there, b"b")]
