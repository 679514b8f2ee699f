"""How a connection to a node is made: only to allowed addresses, and with an eye on dead peers.

The policy is asked at the socket, the one place that every connect passes: literal addresses,
names, and names whose DNS answer changed since they were saved (rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING, Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

from shared.addresses import InvalidAddressError

if TYPE_CHECKING:
    from collections.abc import Callable

    from shared.addresses import AddressPolicy

RESOLVE_TIMEOUT_S: Final = 2.0
LAST_GOOD_S: Final = 300.0
"""While a name does not resolve, its last addresses are used this long."""

USER_TIMEOUT_MS: Final = 15_000
"""A peer that acknowledges nothing for this long is gone (powered off, cable pulled)."""

KEEPALIVE_IDLE_S: Final = 15
KEEPALIVE_INTERVAL_S: Final = 5
KEEPALIVE_COUNT: Final = 3


class AddressRefusedError(OSError):
    """The policy forbids the address. An OSError, so that the connector treats it as one."""


def socket_factory(policy: AddressPolicy) -> Callable[[Any], socket.socket]:
    """Make sockets for allowed addresses; refuse the others before a packet is sent."""

    def make(addr_info: tuple[int, int, int, str, tuple[Any, ...]]) -> socket.socket:
        family, kind, proto, _, address = addr_info
        try:
            policy.check(ipaddress.ip_address(address[0]), address[1])
        except InvalidAddressError as error:
            raise AddressRefusedError(str(error)) from error
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_MS)
        return sock

    return make


class Resolver(AbstractResolver):
    """The system's resolver, off the loop, with a limit and a memory."""

    def __init__(self) -> None:
        self._last_good: dict[tuple[str, int], tuple[float, list[ResolveResult]]] = {}

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Look a name up; falls back to the last good answer for a while."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                found = await loop.getaddrinfo(
                    host, port, family=family, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
                )
        except OSError as error:  # gaierror and TimeoutError are OSErrors
            return self._remembered((host, port), loop.time(), error)
        results = [
            ResolveResult(
                hostname=host, host=str(address[0]), port=port, family=kind, proto=proto, flags=0
            )
            for kind, _, proto, _, address in found
        ]
        self._last_good[host, port] = (loop.time(), results)
        return results

    def _remembered(self, key: tuple[str, int], now: float, error: OSError) -> list[ResolveResult]:
        resolved_at, results = self._last_good.get(key, (0.0, []))
        if not results or now - resolved_at > LAST_GOOD_S:
            self._last_good.pop(key, None)
            # Not a bare TimeoutError: the connector would take that for the connect limit.
            raise socket.gaierror(socket.EAI_AGAIN, f"{key[0]} does not resolve") from error
        return results

    async def close(self) -> None:
        """Nothing is held."""
