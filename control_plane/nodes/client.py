"""Asking an Ollama node how it is and what it holds. Only `orders` talks to nodes beside this.

What a node answers is foreign: redirects are not followed, cookies not kept, nothing decompressed,
bodies are bounded, proxies from the environment ignored, and every connect asks the address policy.
What comes back is an outcome or parsed records, never a body and never an error's text: a probe
must not be a way to read what stands at an address.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self, TypeVar

import aiohttp
import yarl

from control_plane.nodes.resolver import PolicyResolver, ResolveError
from shared.addresses import InvalidAddressError, normalise
from shared.events import ProbeOutcome, ProbeResult
from shared.inventory import InventoryError, parse_ps, parse_tags, parse_version

if TYPE_CHECKING:
    import uuid
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from shared.addresses import AddressPolicy
    from shared.snapshot import LoadedModel, Model, ProxyConfig

    Question = Callable[["NodeClient", "Target"], Awaitable["Observation"]]

_T = TypeVar("_T")

CONCURRENCY: Final = 128
"""Nodes asked at once by one run: a thousand take eight rounds, with few sockets open."""

MAX_BODY_BYTES: Final = 16 * 1024 * 1024
INVENTORY_TIMEOUT_S: Final = 10.0
"""For /api/tags and /api/ps: just after a start, and while a model is loaded or unloaded, they
stall for seconds on a node that is well. Neither decides about health."""

_HTTP_OK: Final = 200
_REDIRECTS: Final = 300
_UNAUTHORIZED: Final = frozenset({401, 403, 407})
_NOT_FOUND: Final = 404
_SERVER_ERRORS: Final = 500


@dataclass(frozen=True, slots=True)
class Target:
    """A node to ask. `revision` is the edit that was read, so that a result is never applied to a
    node that an operator has changed meanwhile.
    """

    id: uuid.UUID | None
    url: str
    token: str = ""
    revision: int = 0


@dataclass(frozen=True, slots=True)
class Observation:
    """What one look at a node gave. None: not asked, or not answered well enough to be used."""

    target: Target
    probe: ProbeResult | None = None
    available: tuple[tuple[Model, str], ...] | None = None
    loaded: tuple[LoadedModel, ...] | None = None
    version: str = ""


class _ProbeError(Exception):
    """A request that failed, as the outcome that an operator is told."""

    def __init__(self, outcome: ProbeOutcome) -> None:
        super().__init__(outcome.value)
        self.outcome = outcome


def node_session(policy: AddressPolicy) -> aiohttp.ClientSession:
    """A session for what nodes answer, which is foreign. Made within the loop that uses it."""
    connector = aiohttp.TCPConnector(
        resolver=PolicyResolver(policy),
        use_dns_cache=False,  # a cached answer would be one that the policy saw long ago
        limit=0,  # bounded by whoever asks
        force_close=True,  # a probe must find out whether the node accepts connections
    )
    return aiohttp.ClientSession(
        connector=connector,
        trust_env=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),  # each question sets its own deadline
        headers={"Accept": "application/json", "Accept-Encoding": "identity"},
        max_line_size=8_190,
        max_field_size=8_190,
    )


def node_url(target: Target, path: str, policy: AddressPolicy) -> yarl.URL:
    """Where to ask; raises InvalidAddressError when the policy refuses the address."""
    address = normalise(target.url)
    if address.ip is not None:  # aiohttp asks its resolver about names only
        policy.check(address.ip, address.port)
    return yarl.URL(address.url + path, encoded=True)


def credential(target: Target) -> dict[str, str]:
    """The header that the node asks for, if it asks for one."""
    return {"Authorization": f"Bearer {target.token}"} if target.token else {}


class NodeClient:
    """Asks nodes over one session. Use as a context manager, within one event loop."""

    def __init__(self, policy: AddressPolicy, *, health_path: str, timeout_s: float) -> None:
        self._policy = policy
        self._health_path = health_path
        self._timeout_s = timeout_s
        self._places = asyncio.Semaphore(CONCURRENCY)

    async def __aenter__(self) -> Self:
        self._session = node_session(self._policy)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._session.close()

    async def health(self, target: Target) -> Observation:
        """One probe: the health path, and where that is unknown (404) the version."""
        async with self._places:
            return await self._health(target)

    async def inventory(self, target: Target) -> Observation:
        """Models on disk, models in memory, version: each one that answers."""
        async with self._places:
            return await self._inventory(target)

    async def everything(self, target: Target) -> Observation:
        """Probe, then inventory. A node that answers the probe but lists no models is no Ollama."""
        async with self._places:
            seen = await self._health(target)
            if seen.probe is None or not seen.probe.is_ok:
                return seen
            held = await self._inventory(target)
        probe = seen.probe
        if held.available is None:
            probe = ProbeResult(
                outcome=held.probe.outcome if held.probe else ProbeOutcome.NOT_OLLAMA
            )
        else:
            probe = ProbeResult(
                outcome=ProbeOutcome.OK,
                latency_s=probe.latency_s,
                version=held.version or probe.version,
            )
        return Observation(target, probe, held.available, held.loaded, probe.version)

    async def _health(self, target: Target) -> Observation:
        began = time.monotonic()
        latency_s = 0.0
        version = ""
        try:
            async with asyncio.timeout(self._timeout_s):
                status, _ = await self._get(target, self._health_path)
                latency_s = time.monotonic() - began
                if status == _NOT_FOUND:
                    version = await self._version(target)
                else:
                    _raise_unless_ok(status)
        except TimeoutError:
            return Observation(target, ProbeResult(outcome=ProbeOutcome.TIMEOUT))
        except _ProbeError as error:
            return Observation(target, ProbeResult(outcome=error.outcome))
        probe = ProbeResult(outcome=ProbeOutcome.OK, latency_s=latency_s, version=version)
        return Observation(target, probe, version=version)

    async def _inventory(self, target: Target) -> Observation:
        tags, ps, version = await asyncio.gather(
            self._read(target, "/api/tags"),
            self._read(target, "/api/ps"),
            self._read(target, "/api/version"),
        )
        fault: ProbeOutcome | None = None
        available = loaded = None
        if isinstance(tags, ProbeOutcome):
            fault = tags
        else:
            try:
                available = parse_tags(tags)
            except InventoryError:
                fault = ProbeOutcome.NOT_OLLAMA
        if isinstance(ps, bytes):
            loaded = _parsed(parse_ps, ps)
        return Observation(
            target,
            ProbeResult(outcome=fault) if fault else None,
            available,
            loaded,
            (_parsed(parse_version, version) or "") if isinstance(version, bytes) else "",
        )

    async def _read(self, target: Target, path: str) -> bytes | ProbeOutcome:
        try:
            async with asyncio.timeout(max(INVENTORY_TIMEOUT_S, self._timeout_s)):
                status, body = await self._get(target, path)
            _raise_unless_ok(status)
        except TimeoutError:
            return ProbeOutcome.TIMEOUT
        except _ProbeError as error:
            return error.outcome
        return body

    async def _version(self, target: Target) -> str:
        status, body = await self._get(target, "/api/version")
        _raise_unless_ok(status)
        try:
            return parse_version(body)
        except InventoryError as error:
            raise _ProbeError(ProbeOutcome.NOT_OLLAMA) from error

    async def _get(self, target: Target, path: str) -> tuple[int, bytes]:
        """One request. Foreign errors are mapped here only; TimeoutError is left to the caller."""
        try:
            url = node_url(target, path, self._policy)
            headers = credential(target)
            async with self._session.get(url, headers=headers, allow_redirects=False) as response:
                if response.headers.get("Content-Encoding", "identity").lower() != "identity":
                    raise _ProbeError(ProbeOutcome.NOT_OLLAMA)
                return response.status, await _bounded_body(response)
        except InvalidAddressError as error:
            raise _ProbeError(ProbeOutcome.ADDRESS_NOT_ALLOWED) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise _ProbeError(outcome_of(error)) from error


async def _bounded_body(response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    async for chunk in response.content.iter_chunked(64 * 1024):
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise _ProbeError(ProbeOutcome.NOT_OLLAMA)
    return bytes(body)


def _raise_unless_ok(status: int) -> None:
    if _HTTP_OK <= status < _REDIRECTS:
        return
    if status in _UNAUTHORIZED:
        raise _ProbeError(ProbeOutcome.UNAUTHORIZED)
    # A gateway before the node says 502 or 503 while the node is away; everything else that is not
    # a success (a redirect, an unknown route) is not how Ollama answers.
    down = status >= _SERVER_ERRORS
    raise _ProbeError(ProbeOutcome.UNREACHABLE if down else ProbeOutcome.NOT_OLLAMA)


# The first line that fits says the outcome; subclasses stand above what they derive from.
_OUTCOMES: Final[tuple[tuple[type[Exception], ProbeOutcome], ...]] = (
    (aiohttp.ClientConnectorDNSError, ProbeOutcome.DNS_FAILED),
    (ResolveError, ProbeOutcome.DNS_FAILED),
    (aiohttp.ClientSSLError, ProbeOutcome.TLS_FAILED),
    (ssl.SSLError, ProbeOutcome.TLS_FAILED),
    (aiohttp.ClientResponseError, ProbeOutcome.NOT_OLLAMA),
    (aiohttp.ClientPayloadError, ProbeOutcome.NOT_OLLAMA),
    (aiohttp.InvalidURL, ProbeOutcome.NOT_OLLAMA),
    (aiohttp.ClientConnectionError, ProbeOutcome.UNREACHABLE),
    (OSError, ProbeOutcome.UNREACHABLE),
)


def outcome_of(error: Exception) -> ProbeOutcome:
    """What an error of the client library says of the node."""
    cause = getattr(error, "os_error", error)
    if isinstance(cause, ConnectionRefusedError):
        return ProbeOutcome.REFUSED
    fits = (outcome for kind, outcome in _OUTCOMES if isinstance(error, kind))
    return next(fits, ProbeOutcome.NOT_OLLAMA)


def _parsed(parse: Callable[[bytes], _T], body: bytes) -> _T | None:
    try:
        return parse(body)
    except InventoryError:
        return None


def ask(
    targets: Sequence[Target], question: Question, policy: AddressPolicy, config: ProxyConfig
) -> list[Observation]:
    """Ask all targets at once, from synchronous code; answers in the order of the targets."""
    return asyncio.run(_ask(targets, question, policy, config))


async def _ask(
    targets: Sequence[Target], question: Question, policy: AddressPolicy, config: ProxyConfig
) -> list[Observation]:
    timeout_s, health_path = config.probe_timeout_s, config.health_path
    async with NodeClient(policy, health_path=health_path, timeout_s=timeout_s) as client:
        return await asyncio.gather(*(question(client, target) for target in targets))
