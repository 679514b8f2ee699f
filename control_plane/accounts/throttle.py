"""A bound on password checks: so many for each address, so few at the same time.

Argon2 is made to be dear, which an attacker would turn against us. The counts are this process's
own: they must hold when Redis is away, and a few processes only multiply them by a few.
"""

from __future__ import annotations

import ipaddress
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from control_plane.accounts.errors import ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

BURST: Final = 30
"""Sign-ins at once from one address: an office behind one router in the morning."""
PER_SECOND: Final = 0.5
"""After that. A tenth of a core at most for each attacking address."""
MAX_ADDRESSES: Final = 10_000
AT_ONCE: Final = 2
"""Password checks at the same time; each takes a core and 64 MiB."""
WAIT_S: Final = 3.0
V6_NETWORK_BITS: Final = 64
"""Whoever has one IPv6 address has 2^64."""


class Buckets:
    """A token bucket for each address."""

    def __init__(self, burst: float, per_second: float, max_addresses: int) -> None:
        self._burst = burst
        self._per_second = per_second
        self._max_addresses = max_addresses
        self._levels: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, ip: str, now: float) -> None:
        """Take one. Raises ThrottledError when there is none."""
        key = network_of(ip)
        with self._lock:
            level, since = self._levels.pop(key, (self._burst, now))
            level = min(self._burst, level + (now - since) * self._per_second)
            if level < 1:
                self._levels[key] = (level, now)
                raise ThrottledError((1 - level) / self._per_second)
            self._levels[key] = (level - 1, now)
            if len(self._levels) > self._max_addresses:
                # Re-inserted at each use, so the first is the one unused for longest.
                del self._levels[next(iter(self._levels))]

    def clear(self) -> None:
        """Forget everybody."""
        with self._lock:
            self._levels.clear()


def network_of(ip: str) -> str:
    """What one party can be assumed to own: an IPv4 address, or an IPv6 network."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, V6_NETWORK_BITS), strict=False))
    return ip


buckets: Final = Buckets(BURST, PER_SECOND, MAX_ADDRESSES)
_slots: Final = threading.BoundedSemaphore(AT_ONCE)


@contextmanager
def password_check(ip: str, clock: Callable[[], float] = time.monotonic) -> Iterator[None]:
    """The right to check one password. Raises ThrottledError."""
    buckets.take(ip, clock())
    if not _slots.acquire(timeout=WAIT_S):
        raise ThrottledError(WAIT_S)
    try:
        yield
    finally:
        _slots.release()
