"""By which names we may be called while we are open: what an Ollama server on loopback checks.

A page of the web may let its own name point at this machine (DNS rebinding). Its requests then come
from the same origin, so that no browser stops them and no Origin gives them away; only the Host
header still bears the page's name. While no key is asked for, a request must therefore call us by
an address or by a name that no stranger can point anywhere. `AIVONX_HOSTS` adds further names, such
as the one under which a reverse proxy on this machine is known.
"""

from __future__ import annotations

import ipaddress
import socket
from typing import Final

_TO_HERE: Final = frozenset({"", "localhost"})
_NOT_OF_THE_WEB: Final = (".localhost", ".local", ".internal")
"""Reserved: no public name server answers for them."""


class Hosts:
    """Decides about Host headers."""

    def __init__(self, further: tuple[str, ...], machine: str = "") -> None:
        """`machine` is this machine's name; "" asks the system for it."""
        machine = machine or socket.gethostname()
        self._names = _TO_HERE | {machine.lower()} | {name.lower() for name in further}

    def is_ours(self, host: str) -> bool:
        """Whether a Host header, well-formed or absent (""), names us and nobody else."""
        name = host.rpartition("]")[0][1:] or host.partition(":")[0].lower()
        return name in self._names or name.endswith(_NOT_OF_THE_WEB) or _is_address(name)


def _is_address(name: str) -> bool:
    """An address is no name, so that nobody can point it elsewhere."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
