"""From a node's host to addresses that the policy lets us connect to.

Asked when a node is saved and again at every connect, because a DNS answer may change in between
(rebinding). One forbidden address in an answer refuses the whole answer: which one of them would be
connected to is not ours to choose.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from concurrent.futures import ThreadPoolExecutor
from socket import getaddrinfo
from typing import TYPE_CHECKING, Final

from aiohttp.abc import AbstractResolver, ResolveResult

if TYPE_CHECKING:
    from shared.addresses import AddressPolicy, IPAddress, NodeAddress

RESOLVE_TIMEOUT_S: Final = 2.0
_THREADS: Final = 16

# Our own threads, not the loop's: asyncio.run waits for the loop's when it ends, and getaddrinfo of
# a dead name server can sit there long after we stopped caring.
_executor = ThreadPoolExecutor(_THREADS, thread_name_prefix="node-dns")


class ResolveError(OSError):
    """The host name gave no address in time."""


async def addresses_of(host: str, port: int, family: int = socket.AF_UNSPEC) -> list[IPAddress]:
    """Look a host name up, bounded in time. Raises ResolveError."""
    loop = asyncio.get_running_loop()
    lookup = loop.run_in_executor(
        _executor, lambda: getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    )
    try:
        async with asyncio.timeout(RESOLVE_TIMEOUT_S):
            found = await lookup
    except (TimeoutError, OSError, UnicodeError) as error:
        msg = f"{host} does not resolve"
        raise ResolveError(msg) from error
    # A scoped IPv6 address ("fe80::1%eth0") keeps its zone here; it is link-local and so refused.
    return list(dict.fromkeys(ipaddress.ip_address(str(entry[4][0])) for entry in found))


async def address_check(address: NodeAddress, policy: AddressPolicy) -> None:
    """Raise InvalidAddressError when the policy refuses the address, ResolveError without DNS."""
    literal = address.ip
    found = [literal] if literal else await addresses_of(address.host, address.port)
    for ip in found:
        policy.check(ip, address.port)


class PolicyResolver(AbstractResolver):
    """aiohttp's resolver, which passes only what the policy allows.

    aiohttp does not ask a resolver about IP literals: whoever connects must call
    `policy.check` for these (see `client`).
    """

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The allowed addresses of a host; raises InvalidAddressError when one is forbidden."""
        found = await addresses_of(host, port, family)
        for ip in found:
            self._policy.check(ip, port)
        return [
            ResolveResult(
                hostname=host,
                host=str(ip),
                port=port,
                family=socket.AF_INET if ip.version == 4 else socket.AF_INET6,  # noqa: PLR2004 - IPv4
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for ip in found
        ]

    async def close(self) -> None:
        """Nothing is held."""
