"""Which addresses a node may have: one spelling each, and no way to where we must not go.

Both planes ask here: the control plane when a node is saved, and each plane again at every connect,
because a DNS answer may change in between (rebinding). Always refused: link-local, cloud metadata,
unspecified, multicast, reserved. Of the rest only the networks of the policy's allow-list pass.
Addresses that carry an IPv4 address inside (mapped, 6to4, NAT64, Teredo) are judged by that too.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import SplitResult, urlsplit

from shared import environ
from shared.environ import MAX_PORT, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

DEFAULT_PORT: Final = 11_434
DEFAULT_ALLOWED_NETWORKS: Final = (
    "127.0.0.0/8,::1/128,10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,fc00::/7"
)
"""Loopback, private, carrier-grade NAT (overlay networks use it) and unique-local."""

MAX_LENGTH: Final = 512

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IPNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA: Final = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",
        "169.254.170.2",
        "100.100.100.200",
        "168.63.129.16",
        "192.0.0.192",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd00:c1::a9fe:a9fe",
        "fd20:ce::254",
    )
)
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_NAT64_LOCAL: Final = ipaddress.IPv6Network("64:ff9b:1::/48")
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_NUMBERISH: Final = re.compile(r"(0x[0-9a-f]*|[0-9]+)", re.ASCII)
_PORT_RANGE: Final = "the port must be from 1 to 65535"
_PREFIX: Final = re.compile(r"(/[A-Za-z0-9._~-]+)*", re.ASCII)


class AddressFault(StrEnum):
    """Why an address is refused."""

    INVALID = "invalid_address"
    PORT = "port_not_allowed"
    NOT_ALLOWED = "address_not_allowed"


class InvalidAddressError(ValueError):
    """The address is refused; `fault` says why and the text what would be accepted."""

    def __init__(self, fault: AddressFault, detail: str) -> None:
        super().__init__(detail)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """A node's base URL in its one spelling. `prefix` is "" or "/path", no slash at the end."""

    scheme: str
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """host:port as the Host header has it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def url(self) -> str:
        """The base URL, port always spelt out."""
        return f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def ip(self) -> IPAddress | None:
        """The address when the host is a literal, else None."""
        try:
            return ipaddress.ip_address(self.host)
        except ValueError:
            return None


def normalise(text: str, port: int | None = None) -> NodeAddress:
    """Read `http(s)://host:port[/prefix]` or a bare host.

    Without a port: that of the scheme, or Ollama's 11434 when there is no scheme either.
    """
    text = text.strip()
    if not text or len(text) > MAX_LENGTH or not text.isascii() or not text.isprintable():
        raise _invalid("give the address as http://host:port")
    default_ports = {"http": 80, "https": 443}  # as OLLAMA_HOST is read
    if "://" not in text:
        default_ports = {"http": DEFAULT_PORT}
        bare_v6 = text.count(":") > 1 and not text.startswith("[")
        text = f"http://[{text}]" if bare_v6 else f"http://{text}"
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise _invalid("give the address as http://host:port") from error
    if url.scheme not in {"http", "https"}:
        raise _invalid("the scheme must be http or https")
    if "@" in url.netloc:
        raise _invalid("leave user and password out; a node's token has its own field")
    if url.query or url.fragment or "?" in text or "#" in text or "\\" in text or " " in text:
        raise _invalid("leave query and fragment out")
    if url.netloc.endswith(":"):
        raise _invalid("the port is missing after the colon")
    return NodeAddress(
        url.scheme,
        _host(url.hostname or ""),
        _port(_given_port(url), port, default_ports[url.scheme]),
        _prefix(url.path),
    )


def _given_port(url: SplitResult) -> int | None:
    try:
        return url.port
    except ValueError as error:
        digits = url.netloc.rpartition(":")[2]
        fault = AddressFault.PORT if digits.isascii() and digits.isdigit() else AddressFault.INVALID
        raise InvalidAddressError(fault, _PORT_RANGE) from error


def _port(given: int | None, separate: int | None, default: int) -> int:
    if given is not None and separate is not None and given != separate:
        raise _invalid("address and port name two different ports")
    named = given if given is not None else separate
    port = default if named is None else named
    if not 1 <= port <= MAX_PORT:
        raise InvalidAddressError(AddressFault.PORT, _PORT_RANGE)
    return port


def _host(host: str) -> str:
    host = host.lower()
    if not host or "%" in host:
        raise _invalid("the host is missing or has a zone")
    if ":" in host:
        try:
            ip = ipaddress.IPv6Address(host)
        except ValueError as error:
            raise _invalid("that is no IPv6 address") from error
        if _embedded(ip):
            raise _invalid("write the IPv4 address itself, not inside an IPv6 address")
        return str(ip)
    labels = host.split(".")
    if _NUMBERISH.fullmatch(labels[-1]):
        # A name cannot end in a number: it is an IPv4 address, and only its plain form counts,
        # because 127.1, 2130706433 or 0x7f.1 mean different things to different resolvers.
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError as error:
            raise _invalid("write an IPv4 address as four plain decimal numbers") from error
    if not all(_LABEL.fullmatch(label) for label in labels) or len(host) > 253:  # noqa: PLR2004 - DNS
        raise _invalid("that is no host name (ASCII letters, digits, hyphens; no dot at the end)")
    return host


def _prefix(path: str) -> str:
    path = path.rstrip("/")
    if not _PREFIX.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise _invalid("the path prefix may hold letters, digits and . _ ~ - only")
    return path


def _invalid(detail: str) -> InvalidAddressError:
    return InvalidAddressError(AddressFault.INVALID, detail)


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The networks nodes may be in, and ports they may not use on this machine."""

    allowed: tuple[IPNetwork, ...]
    forbidden_local_ports: frozenset[int] = frozenset()

    @classmethod
    def parse(cls, networks: tuple[str, ...], forbidden_local_ports: frozenset[int]) -> Self:
        """Read the networks in CIDR form; raises ValueError naming the bad one."""
        return cls(tuple(ipaddress.ip_network(text) for text in networks), forbidden_local_ports)

    def check(self, ip: IPAddress, port: int) -> None:
        """Raise InvalidAddressError unless a node may be at this address and port."""
        for address in (ip, *_embedded(ip)):
            if _is_never_allowed(address) or not self._is_listed(address):
                raise InvalidAddressError(
                    AddressFault.NOT_ALLOWED,
                    f"{ip} is not in the networks where nodes may be (AIVONX_NODE_ALLOWED_CIDRS)",
                )
            if address.is_loopback and port in self.forbidden_local_ports:
                raise InvalidAddressError(
                    AddressFault.PORT, f"port {port} on this machine belongs to the proxy itself"
                )

    def _is_listed(self, ip: IPAddress) -> bool:
        return any(ip.version == network.version and ip in network for network in self.allowed)


def policy_read(variables: Mapping[str, str]) -> AddressPolicy:
    """The policy that the settings name; both planes read the same. Raises SettingError."""
    name = "AIVONX_NODE_FORBIDDEN_PORTS"
    ports = environ.items(variables, name)
    if not all(port.isascii() and port.isdigit() and int(port) <= MAX_PORT for port in ports):
        raise SettingError(name, "must be port numbers, separated by commas")
    networks = environ.items(variables, "AIVONX_NODE_ALLOWED_CIDRS", DEFAULT_ALLOWED_NETWORKS)
    try:
        return AddressPolicy.parse(networks, frozenset(int(port) for port in ports))
    except ValueError as error:
        raise SettingError(
            "AIVONX_NODE_ALLOWED_CIDRS", f"must be networks such as 10.0.0.0/8 ({error})"
        ) from error


def _is_never_allowed(ip: IPAddress) -> bool:
    return (
        ip in _METADATA
        or ip.is_link_local
        or ip.is_multicast
        or ip.is_unspecified
        or (ip.is_reserved and not ip.is_loopback and not _embedded(ip))
        or (ip.version == 4 and ip in ipaddress.IPv4Network("0.0.0.0/8"))  # noqa: PLR2004 - IPv4
    )


def _embedded(ip: IPAddress) -> tuple[ipaddress.IPv4Address, ...]:
    """IPv4 addresses that an IPv6 address leads to."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ()
    found = [ip.ipv4_mapped, ip.sixtofour]
    if ip.teredo is not None:
        found.extend(ip.teredo)
    if ip in _NAT64 or ip in _NAT64_LOCAL:
        found.append(ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF))
    return tuple(address for address in found if address is not None)
