"""Connections go to allowed addresses only, whatever a name resolves to."""

import socket

import pytest

from data_plane.upstream.dial import AddressRefusedError, Resolver, socket_factory
from shared.addresses import AddressPolicy

POLICY = AddressPolicy.parse(("127.0.0.0/8", "::1/128"), frozenset({9_435}))


def info(host: str, port: int = 11_434):
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)


@pytest.mark.parametrize(
    ("host", "port"),
    [
        ("10.0.0.1", 11_434),
        ("169.254.169.254", 80),
        ("::ffff:169.254.169.254", 80),
        ("127.0.0.1", 9_435),
    ],
)
def test_a_forbidden_address_gets_no_socket(host, port) -> None:
    """F27: asked at the socket, so that no DNS answer gets round it."""
    with pytest.raises(AddressRefusedError):
        socket_factory(POLICY)(info(host, port))


def test_a_dead_peer_is_noticed_by_the_kernel() -> None:
    with socket_factory(POLICY)(info("127.0.0.1")) as sock:
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 15_000


async def test_while_a_name_does_not_resolve_its_last_addresses_are_used() -> None:
    """F26."""
    resolver = Resolver()
    found = await resolver.resolve("localhost", 80)
    assert {entry["host"] for entry in found} & {"127.0.0.1", "::1"}
    resolver._last_good["gone.invalid", 80] = resolver._last_good["localhost", 80]
    assert await resolver.resolve("gone.invalid", 80) == found
    resolver._last_good["gone.invalid", 80] = (-1_000_000.0, found)
    with pytest.raises(socket.gaierror):
        await resolver.resolve("gone.invalid", 80)
