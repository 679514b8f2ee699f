"""A node that is gone without a word, as when its cable is pulled: no FIN, no RST, no answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
from fakes.faultproxy import FaultProxy
from fakes.ollama import FakeOllama

from shared import wire as sealing
from tests.data_plane.conftest import SNAPSHOT_KEY, Plane, chat_body, eventually, snapshot_of

LATE_S = 10.0
"""Three probes take 0.9 s with these knobs, and 17 s as shipped; the rest is for a busy machine."""


@pytest.fixture
async def behind(plane: Plane) -> AsyncIterator[tuple[FakeOllama, FaultProxy, FakeOllama]]:
    """A node that is reached through a link which may be cut, the link, and another node."""
    async with (
        FakeOllama() as node,
        FaultProxy("127.0.0.1", node.port) as link,
        FakeOllama() as other,
    ):
        snapshot = await snapshot_of([node, other])
        one, second = snapshot.nodes
        nodes = (msgspec.structs.replace(one, address=link.url("http")), second)
        sealed = sealing.seal(msgspec.structs.replace(snapshot, nodes=nodes), SNAPSHOT_KEY.encode())
        assert await plane.app.state.offer(sealed, "test")
        yield node, link, other


async def test_a_stream_ends_visibly_and_the_node_is_used_when_it_is_back(
    plane: Plane, dial: Any, behind: Any
) -> None:
    """F10: midway through its answer."""
    node, link, _ = behind
    node.fault("stall", path="/api/chat", after=2)
    with plane.app.leases.take("n2", 0.0):
        wire = await dial(plane)
        wire.post("/api/chat", chat_body())
        await wire.until(b'"done":false')
    link.black_hole()
    received = await wire.to_the_end(LATE_S)
    assert b'"code":"upstream_stalled"' in received
    assert b'"done":true' not in received
    assert not received.endswith(b"0\r\n\r\n")
    assert plane.app.circuits.down
    await plane.idle()

    node.clear_faults()
    link.heal()
    await eventually(lambda: not plane.app.circuits.down, within_s=LATE_S)
    with plane.app.leases.take("n2", 0.0):
        assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-1"
    assert node.active == 0


async def test_a_request_on_an_idle_connection_goes_elsewhere(plane: Plane, behind: Any) -> None:
    """F10: the connection was kept from an answer before."""
    _, link, other = behind
    with plane.app.leases.take("n2", 0.0):
        assert (await plane.chat()).headers["X-Aivonx-Node"] == "node-1"
        link.black_hole()
        answer = await plane.chat()
    assert answer.status == 200
    assert b'"done":true' in answer.body
    assert (answer.headers["X-Aivonx-Node"], answer.headers["X-Aivonx-Attempts"]) == ("node-2", "2")
    assert len(other.inference) == 1
    assert plane.app.circuits.down
    await plane.idle()


async def test_a_node_whose_name_is_gone_goes_to_standby_and_the_others_serve(plane: Plane) -> None:
    """F26: the resolver's time is limited, and not the loop's."""
    async with FakeOllama() as node:
        snapshot = await snapshot_of([node, node])
        one, second = snapshot.nodes
        nodes = (one, msgspec.structs.replace(second, address="http://gone.invalid:11434"))
        sealed = sealing.seal(msgspec.structs.replace(snapshot, nodes=nodes), SNAPSHOT_KEY.encode())
        assert await plane.app.state.offer(sealed, "test")
        with plane.app.leases.take("n1", 0.0):  # so that the other one would be asked
            answers = await asyncio.gather(*[plane.chat() for _ in range(4)])
        assert {(each.status, each.headers["X-Aivonx-Node"]) for each in answers} == {
            (200, "node-1")
        }
        await eventually(lambda: plane.app.circuits.down == {"n2"}, within_s=LATE_S)
        assert (await plane.chat()).headers["X-Aivonx-Attempts"] == "1"
