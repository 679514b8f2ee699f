"""Connections go to allowed addresses only, whatever a name resolves to."""

import asyncio
import socket

import pytest

from data_plane.upstream.dial import AddressRefusedError, Dialer, NameUnknownError
from shared.addresses import AddressPolicy, NodeAddress, normalise

POLICY = AddressPolicy.parse(("127.0.0.0/8", "::1/128"), frozenset({9_435}))


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("10.0.0.1", 11_434),
        ("169.254.169.254", 80),
        ("::ffff:169.254.169.254", 80),
        ("127.0.0.1", 9_435),
    ],
)
async def test_a_forbidden_address_gets_no_packet(host, port) -> None:
    """F27: asked at the socket, so that no DNS answer gets round it."""
    with pytest.raises(AddressRefusedError):
        await Dialer(POLICY).connect(NodeAddress("http", host, port, ""), asyncio.Protocol, 1.0)


async def test_a_name_that_turns_to_a_forbidden_address_gets_no_packet() -> None:
    """F27: what it led to before does not count."""
    accepted = []
    server = await asyncio.start_server(lambda *_: accepted.append(1), "127.0.0.2", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dialer = Dialer(AddressPolicy.parse(("127.0.0.1/32",), frozenset()))
        beside = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
        async with beside:
            address = normalise(f"http://turns.test:{port}")
            now = asyncio.get_running_loop().time()
            dialer._resolved["turns.test"] = (now, ((socket.AF_INET, "127.0.0.1"),))
            made = await dialer.connect(address, asyncio.Protocol, 1.0)
            assert made is not None
            dialer._resolved["turns.test"] = (now, ((socket.AF_INET, "127.0.0.2"),))
            with pytest.raises(AddressRefusedError):
                await dialer.connect(address, asyncio.Protocol, 1.0)
        assert not accepted


async def test_a_dead_peer_is_noticed_by_the_kernel() -> None:
    """F10."""

    class Keeping(asyncio.Protocol):
        def connection_made(self, transport) -> None:
            self.transport = transport

    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        made = await Dialer(POLICY).connect(normalise(f"http://127.0.0.1:{port}"), Keeping, 1.0)
        sock = made.transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000
        made.transport.abort()


async def test_while_a_name_does_not_resolve_its_last_addresses_are_used() -> None:
    """F26."""
    dialer = Dialer(POLICY)
    found = await dialer._endpoints("localhost")
    assert {host for _, host in found} & {"127.0.0.1", "::1"}
    now = asyncio.get_running_loop().time()
    dialer._resolved["gone.invalid"] = (now - 60.0, found)
    assert await dialer._endpoints("gone.invalid") == found
    dialer._resolved["gone.invalid"] = (now - 1_000.0, found)
    with pytest.raises(NameUnknownError):
        await dialer._endpoints("gone.invalid")


async def test_another_address_of_a_name_is_tried_when_the_first_refuses() -> None:
    server = await asyncio.start_server(lambda _reader, writer: writer.close(), "127.0.0.2", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        dialer = Dialer(POLICY)
        now = asyncio.get_running_loop().time()
        dialer._resolved["two.test"] = (
            now,
            ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "127.0.0.2")),
        )
        address = normalise(f"http://two.test:{port}")
        assert await dialer.connect(address, asyncio.Protocol, 1.0)
