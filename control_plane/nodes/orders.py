"""Telling a node to change what it holds: pull, delete, copy, load, unload.

The same distrust as in `client`, whose session this uses. What comes back is steps, numbers and
faults; a node's own words go to the log only, cut short.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
import msgspec

from control_plane.nodes.client import credential, node_session, node_url, outcome_of
from control_plane.nodes.pulling import Progress, Step, read_record
from shared.addresses import InvalidAddressError
from shared.events import CURES, ProbeOutcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import TracebackType

    from control_plane.nodes.client import Target
    from shared.addresses import AddressPolicy

CONNECT_TIMEOUT_S: Final = 10.0
SILENCE_S: Final = 900.0
"""Without a record from a pulling node. A digest over 400 GB takes ten minutes on a slow disk."""

LOOK_S: Final = 5.0
"""Of silence, until the connection itself is looked at."""

LOAD_TIMEOUT_S: Final = 900.0
"""Ollama itself gives a load up after five minutes without progress."""

QUICK_TIMEOUT_S: Final = 60.0
"""Delete, copy and unload work on names; the slow part is a disk that has to wake up."""

MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_SAID: Final = 300
_OK: Final = 200
_NOT_FOUND: Final = 404
_UNAUTHORIZED: Final = frozenset({401, 403, 407})


class Kind(StrEnum):
    """What a node is told to do."""

    PULL = "pull"
    DELETE = "delete"
    COPY = "copy"
    LOAD = "load"
    UNLOAD = "unload"


class Fault(StrEnum):
    """Why a node did not do it, beside the outcomes of a probe."""

    MODEL_ABSENT = "model_absent"
    MODEL_UNKNOWN = "model_unknown"
    MODEL_UNLOADABLE = "model_unloadable"
    NO_SPACE = "no_space"
    NO_MEMORY = "no_memory"
    NODE_BUSY = "node_busy"
    NODE_TOO_OLD = "node_too_old"
    REGISTRY_UNREACHABLE = "registry_unreachable"
    REGISTRY_DENIED = "registry_denied"
    BROKEN_OFF = "broken_off"
    STALLED = "stalled"
    NODE_ERROR = "node_error"
    NODE_GONE = "node_gone"
    WORKER_LOST = "worker_lost"


_SENTENCES: Final = {
    Fault.MODEL_ABSENT: "the node does not have this model; pull it there first",
    Fault.MODEL_UNKNOWN: "the registry has no such model; check name and tag",
    Fault.MODEL_UNLOADABLE: "the node cannot load a model of this kind",
    Fault.NO_SPACE: "the node's disk is full; delete models there, then retry",
    Fault.NO_MEMORY: "the model does not fit into the node's memory; unload others, or take a "
    "smaller one",
    Fault.NODE_BUSY: "the node has too many requests waiting; retry in a while",
    Fault.NODE_TOO_OLD: "the model needs a newer Ollama; update the node, then retry",
    Fault.REGISTRY_UNREACHABLE: "the node cannot reach the registry; check its network, then retry",
    Fault.REGISTRY_DENIED: "the registry refuses the node; sign the node in, then retry",
    Fault.BROKEN_OFF: "the connection ended before the node was done; retry goes on where it was",
    Fault.STALLED: "the node said nothing for too long; look at it, then retry",
    Fault.NODE_ERROR: "the node failed; the worker's log has its words under this job's id",
    Fault.NODE_GONE: "the node was removed from the proxy",
    Fault.WORKER_LOST: "the worker died several times over this; look at its log, then retry",
}
SENTENCES: Final[dict[str, str]] = {
    **{outcome.value: sentence for outcome, sentence in CURES.items()},
    **{fault.value: sentence for fault, sentence in _SENTENCES.items()},
}
"""What an operator reads, and does next, by code."""

# The first line that fits says the fault: what Ollama writes, in lower case.
_WORDS: Final = (
    ("no space left", Fault.NO_SPACE),
    ("file does not exist", Fault.MODEL_UNKNOWN),
    ("newer version of ollama", Fault.NODE_TOO_OLD),
    ("unauthorized", Fault.REGISTRY_DENIED),
    ("no such host", Fault.REGISTRY_UNREACHABLE),
    ("dial tcp", Fault.REGISTRY_UNREACHABLE),
    ("i/o timeout", Fault.REGISTRY_UNREACHABLE),
    ("max retries exceeded", Fault.REGISTRY_UNREACHABLE),
    ("maximum pending requests", Fault.NODE_BUSY),
    ("out of memory", Fault.NO_MEMORY),
    ("failed to allocate", Fault.NO_MEMORY),
    ("more system memory", Fault.NO_MEMORY),
    ("unable to load full model", Fault.NO_MEMORY),
    ("does not support", Fault.MODEL_UNLOADABLE),
)


class OrderError(Exception):
    """A node that did not do what it was told: a code of `SENTENCES`, and its words for the log."""

    def __init__(self, code: str, said: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.said = "".join(letter for letter in said if letter.isprintable())[:MAX_SAID]


@dataclass(frozen=True, slots=True)
class Order:
    """What to do with which model."""

    kind: Kind
    model: str
    destination: str = ""
    keep_alive: float | str | None = None
    """For a load: how long to stay in memory, as Ollama takes it; None is the node's default."""


class NodeOrders:
    """Carries orders out over one session. Use as a context manager, within one event loop."""

    def __init__(self, policy: AddressPolicy) -> None:
        self._policy = policy

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

    async def carry_out(self, target: Target, order: Order, progress: Progress) -> None:
        """Tell the node, and return when it has done it. Raises OrderError.

        Cancelled, it closes the connection: that is how Ollama is told to stop a pull.
        """
        try:
            match order.kind:
                case Kind.PULL:
                    await self._pull(target, order.model, progress)
                case Kind.DELETE:
                    await self._delete(target, order.model)
                case Kind.COPY:
                    names = {"source": order.model, "destination": order.destination}
                    await self._tell(target, "POST", "/api/copy", names)
                case Kind.LOAD:
                    await self._load(target, order)
                case Kind.UNLOAD:
                    body = {"model": order.model, "keep_alive": 0, "stream": False}
                    await self._tell(target, "POST", "/api/generate", body)
        except InvalidAddressError as error:
            raise OrderError(ProbeOutcome.ADDRESS_NOT_ALLOWED.value) from error
        except TimeoutError as error:
            is_connect = isinstance(error, aiohttp.ConnectionTimeoutError)
            raise OrderError(ProbeOutcome.TIMEOUT if is_connect else Fault.STALLED) from error
        except aiohttp.ClientPayloadError as error:
            raise OrderError(Fault.BROKEN_OFF) from error
        except (aiohttp.ClientError, OSError, ValueError, msgspec.DecodeError) as error:
            raise OrderError(outcome_of(error).value) from error

    async def _pull(self, target: Target, model: str, progress: Progress) -> None:
        body = {"model": model, "stream": True}
        clock = asyncio.get_running_loop()
        async with (
            asyncio.timeout(SILENCE_S) as silence,
            self._request(target, "POST", "/api/pull", body) as response,
        ):
            if response.status != _OK:
                raise await _refusal(response)
            async for line in _lines(response):
                silence.reschedule(clock.time() + SILENCE_S)
                record = read_record(line)
                if record.error is not None:
                    raise OrderError(_fault_in(record.error), record.error)
                progress.take(record)
        if progress.step is not Step.DONE:
            raise OrderError(Fault.BROKEN_OFF)

    async def _delete(self, target: Target, model: str) -> None:
        """A node that does not have it is as the operator wants it."""
        try:
            await self._tell(target, "DELETE", "/api/delete", {"model": model})
        except OrderError as error:
            if error.code != Fault.MODEL_ABSENT:
                raise

    async def _load(self, target: Target, order: Order) -> None:
        """By the empty prompt; a model that only embeds refuses that, and takes an empty input."""
        body: dict[str, Any] = {"model": order.model, "stream": False}
        if order.keep_alive is not None:
            body["keep_alive"] = order.keep_alive
        try:
            await self._tell(target, "POST", "/api/generate", body, LOAD_TIMEOUT_S)
        except OrderError as error:
            if error.code != Fault.MODEL_UNLOADABLE:
                raise
            body = {**body, "input": []}
            del body["stream"]
            await self._tell(target, "POST", "/api/embed", body, LOAD_TIMEOUT_S)

    async def _tell(
        self,
        target: Target,
        method: str,
        path: str,
        body: dict[str, Any],
        timeout_s: float = QUICK_TIMEOUT_S,
    ) -> None:
        async with (
            asyncio.timeout(timeout_s),
            self._request(target, method, path, body) as response,
        ):
            if response.status != _OK:
                raise await _refusal(response)
            await _start_of(response)

    def _request(
        self, target: Target, method: str, path: str, body: dict[str, Any]
    ) -> aiohttp.client._RequestContextManager:
        return self._session.request(
            method,
            node_url(target, path, self._policy),
            data=msgspec.json.encode(body),
            headers={**credential(target), "Content-Type": "application/json"},
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S),
        )


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """The lines of an answer as they come. Raises OrderError when it is cut off."""
    rest = b""
    while True:
        try:
            async with asyncio.timeout(LOOK_S):
                data = await response.content.readany()
        except TimeoutError:
            # After a malformed chunk aiohttp closes the connection, and tells nobody who reads.
            connection = response.connection
            if connection is None or connection.transport is None:
                raise OrderError(Fault.BROKEN_OFF) from None
            continue
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > MAX_ANSWER_BYTES:
            raise ValueError("a line without end")
        for line in lines if data else [rest]:
            if line.strip():
                yield line
        if not data:
            return


async def _refusal(response: aiohttp.ClientResponse) -> OrderError:
    """What an answer that is no success means."""
    if response.status in _UNAUTHORIZED:
        return OrderError(ProbeOutcome.UNAUTHORIZED)
    try:
        said = read_record(await _start_of(response)).error
    except msgspec.DecodeError:
        said = None
    if said is None:  # Ollama's errors are JSON, but for the one of an unknown route
        return OrderError(ProbeOutcome.NOT_OLLAMA)
    if response.status == _NOT_FOUND:
        return OrderError(Fault.MODEL_ABSENT, said)
    return OrderError(_fault_in(said), said)


async def _start_of(response: aiohttp.ClientResponse) -> bytes:
    """The answer, or as much of it as any honest one has."""
    body = bytearray()
    while len(body) < MAX_ANSWER_BYTES and (chunk := await response.content.readany()):
        body += chunk
    return bytes(body)


def _fault_in(said: str) -> Fault:
    low = said.lower()
    return next((fault for words, fault in _WORDS if words in low), Fault.NODE_ERROR)
