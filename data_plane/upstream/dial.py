"""How a connection to a node is made: only to allowed addresses, and with an eye on dead peers.

The policy is asked at the socket, the one place that every connect passes: literal addresses,
names, and names whose DNS answer changed since they were saved (rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from functools import lru_cache
from typing import TYPE_CHECKING, Final, TypeVar

from shared.addresses import InvalidAddressError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.addresses import AddressPolicy, NodeAddress

DNS_CACHE_S: Final = 10.0
RESOLVE_TIMEOUT_S: Final = 2.0
LAST_GOOD_S: Final = 300.0
"""While a name does not resolve, its last addresses are used this long."""

MAX_REMEMBERED: Final = 4_096

USER_TIMEOUT_MS: Final = 15_000
"""A peer that acknowledges nothing for this long is gone (powered off, cable pulled)."""

KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 3


_P = TypeVar("_P", bound=asyncio.Protocol)

Endpoint = tuple[socket.AddressFamily, str]
"""A family and a literal address."""


class AddressRefusedError(OSError):
    """The policy forbids the address."""


class NameUnknownError(OSError):
    """The name does not resolve."""


class Dialer:
    """Makes connections to nodes."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy
        self._allowed: set[tuple[str, int]] = set()
        """Addresses that the policy, which never changes, has passed."""

        self._resolved: dict[str, tuple[float, tuple[Endpoint, ...]]] = {}

    async def connect(self, address: NodeAddress, make: Callable[[], _P], timeout_s: float) -> _P:
        """A connection to the first of a node's addresses that takes one. Raises OSErrors."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(timeout_s or None):
            began_at = loop.time()
            endpoints = await self._endpoints(address.host)
            failure: OSError = NameUnknownError(address.host)
            for tried, endpoint in enumerate(endpoints):
                # A black hole among several addresses must not use up the time of the others.
                left_s = timeout_s - (loop.time() - began_at)
                others = len(endpoints) - tried - 1
                try:
                    if timeout_s and others:
                        async with asyncio.timeout(left_s / (others + 1)):
                            return await self._open(endpoint, address, make)
                    return await self._open(endpoint, address, make)
                except OSError as error:  # TimeoutError is one
                    failure = error
            raise failure

    async def _open(self, endpoint: Endpoint, address: NodeAddress, make: Callable[[], _P]) -> _P:
        """A connection to one address; a forbidden one is refused before a packet is sent."""
        family, host = endpoint
        if (host, address.port) not in self._allowed:
            try:
                self._policy.check(ipaddress.ip_address(host), address.port)
            except InvalidAddressError as error:
                raise AddressRefusedError(str(error)) from error
            if len(self._allowed) >= MAX_REMEMBERED:
                self._allowed.clear()
            self._allowed.add((host, address.port))
        is_tls = address.scheme == "https"
        transport, protocol = await asyncio.get_running_loop().create_connection(
            make,
            host,
            address.port,
            family=family,
            ssl=_tls() if is_tls else None,
            server_hostname=address.host if is_tls else None,
        )
        _watch_for_dead_peers(transport.get_extra_info("socket"))
        return protocol

    async def _endpoints(self, host: str) -> tuple[Endpoint, ...]:
        """The addresses of a host: what it says itself, else the resolver's word, remembered."""
        literal = _literal(host)
        if literal is not None:
            return (literal,)
        loop = asyncio.get_running_loop()
        resolved_at, known = self._resolved.get(host, (0.0, ()))
        if known and loop.time() - resolved_at <= DNS_CACHE_S:
            return known
        try:
            # The resolver runs in a thread, off the loop.
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await loop.getaddrinfo(
                    host, None, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except OSError as error:  # gaierror and TimeoutError are OSErrors
            if known and loop.time() - resolved_at <= LAST_GOOD_S:
                return known
            self._resolved.pop(host, None)
            raise NameUnknownError(f"{host} does not resolve") from error
        endpoints = tuple(
            dict.fromkeys(
                (socket.AddressFamily(family), str(address[0])) for family, *_, address in found
            )
        )
        self._resolved[host] = (loop.time(), endpoints)
        return endpoints


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """The system's trusted authorities; read once, it takes some milliseconds."""
    context = ssl.create_default_context()
    # Some builds of Python (Debian's) leave it to OpenSSL's own configuration.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


@lru_cache(maxsize=MAX_REMEMBERED)
def _literal(host: str) -> Endpoint | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return (socket.AF_INET if address.version == 4 else socket.AF_INET6, host)  # noqa: PLR2004 - IP


def _watch_for_dead_peers(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
