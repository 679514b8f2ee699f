"""Routes that change what nodes hold, as if there were one node.

pull, push, create   progress of all nodes as one (`protocol/progress.py`); a node that fails is
                     named at the end, the others keep what they have
delete, copy         at every holder; who does not have the model any more has nothing to do
blobs                see `blobs`

Allowed to keys with the scope `manage`, for the models that the key may use; with no key at all, to
everybody, as with Ollama. Afterwards the nodes are asked at once what they hold (`Relisting`).
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol import ask as asking
from data_plane.protocol import dialects
from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.progress import SUCCESS, LeftOutRecord, Progress, Record, line_of
from data_plane.proxy import intake, targets
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.orders import Order, Told, members_of, verdict
from data_plane.proxy.reply import Answer
from data_plane.routing.permits import is_allowed
from data_plane.settings import HELD_BODY_BYTES
from shared.codes import ErrorCode, Outcome
from shared.model_names import InvalidModelNameError, canonical_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from data_plane.protocol.asks import Ask
    from data_plane.proxy.blobs import Blobs
    from data_plane.proxy.call import Call
    from data_plane.proxy.orders import Orders
    from data_plane.proxy.relisting import Relisting
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode
    from shared.registries import Registries

NEWS_INTERVAL_S: Final = 0.06
"""Between two tellings of progress: as often as Ollama tells."""

_NDJSON: Final = b"Content-Type: application/x-ndjson\r\nX-Request-Id: %b\r\n"
_TRUE: Final = msgspec.Raw(b"true")
_encode: Final = msgspec.json.Encoder().encode
_GAINING: Final = frozenset({"/api/pull", "/api/create"})
"""Orders by which nodes get a model."""

_FILES: Final = frozenset({"files", "adapters", "draft_files"})
"""Keys of a create that name blobs."""


TOO_LARGE: Final = (
    "the body of an order may have 4 MiB; send files as blobs (POST /api/blobs/sha256:...) and "
    "name their digests"
)


LEFT_OUT: Final = "left out, since they cannot be used now (do this again later): {nodes}"
"""Told as a step of the order, which clients show as it is."""


class Management:
    """Serves the routes of `Action.MANAGE`."""

    def __init__(
        self,
        orders: Orders,
        blobs: Blobs,
        relisting: Relisting,
        circuits: Circuits,
        registries: Registries,
    ) -> None:
        self._orders = orders
        self._blobs = blobs
        self._relisting = relisting
        self._circuits = circuits
        self._registries = registries

    async def serve(self, call: Call) -> None:
        """Answer a request. Raises RefusedRequestError."""
        if not may_manage(call):
            raise RefusedRequestError(ErrorCode.SCOPE_REQUIRED, closes=not call.content.is_eof())
        match call.route.path:
            case "/api/pull" | "/api/create" | "/api/push":
                await self._follow(call)
            case "/api/delete" | "/api/copy":
                await self._everywhere(call)
            case _:
                await self._blobs.serve(call)

    # pull, create, push

    async def _follow(self, call: Call) -> None:
        ask = await _ask(call)
        members = members_of(ask.body) if isinstance(ask.body, bytes) else {}
        _check_may_touch(call, ask.canonical)
        base = _text(members["from"]) if "from" in members else ""
        if base:
            base = _canonical(base)
            _check_may_touch(call, base)
        self._check_registry(call, ask.canonical, base)
        nodes, left_out = self._nodes(call, ask, base)
        digests = _digests(members)
        if digests and not targets.wish_in(_query(call), may_replicate=True).names:
            nodes = await self._blobs.having(call, digests, nodes)
        order = _order(call, _encode({**members, "stream": _TRUE}))
        told = await _Telling(call, nodes, is_streamed=ask.streaming).run(self._orders, order)
        if call.route.path in _GAINING:
            await self._relisting.look_at([each.node for each in told if each.status])
        status, words = _ended(call, told)
        if ask.streaming and call.reply.is_committed:
            _end_stream(call, status, words, left_out)
        elif words:
            raise _refusal(call, ask.model, status, words)
        else:
            await call.reply.answer(_json(call, line_of(LeftOutRecord(SUCCESS, left_out=left_out))))

    def _check_registry(self, call: Call, canonical: str, base: str) -> None:
        """A node fetches what it shall pull, and the base of what it shall create unless some node
        has it; it sends what it shall push.
        """
        if call.route.path == "/api/create":
            canonical = "" if base in call.view.pools.models else base
        if canonical and not self._registries.allow(canonical):
            raise RefusedRequestError(ErrorCode.REGISTRY_NOT_ALLOWED)

    def _nodes(
        self, call: Call, ask: Ask, base: str
    ) -> tuple[tuple[PoolNode, ...], tuple[str, ...]]:
        """Where to pull and create, and the names of those that are left out; for a push, the
        first that has the model.
        """
        pools, down = call.view.pools, self._circuits.down
        is_gaining = call.route.path in _GAINING
        wish = targets.wish_in(_query(call), may_replicate=is_gaining)
        if is_gaining:
            wish = replace(wish, at_least=call.view.config.pull_replicas)
            where = (wish, pools, ask.canonical, down, base)
            return targets.placed(*where), targets.left_out(*where)
        having = targets.holders(wish, pools, ask.canonical)
        if not having:
            raise _unknown(call, ask.model)
        well = [node for node in having if node.id not in down and node.standby is None]
        return (having if wish.names else ((well or list(having))[0],)), ()

    # delete, copy

    async def _everywhere(self, call: Call) -> None:
        ask = await _ask(call)
        members = members_of(ask.body) if isinstance(ask.body, bytes) else {}
        _check_may_touch(call, ask.canonical)
        if call.route.path == "/api/copy":
            destination = _text(members.get("destination", msgspec.Raw(b"null")))
            if not destination:
                raise RefusedRequestError(ErrorCode.INVALID_MODEL, "destination is required")
            _check_may_touch(call, _canonical(destination))
            body = {"source": ask.model, "destination": destination}
        else:
            body = {"model": ask.model}
        wish = targets.wish_in(_query(call), may_replicate=False)
        nodes = targets.holders(wish, call.view.pools, ask.canonical)
        if not nodes:
            raise _unknown(call, ask.model)
        told = await self._orders.tell_all(nodes, _order(call, _encode(body)))
        await self._relisting.look_at([each.node for each in told if each.status])
        # Who has lost the model meanwhile has nothing to delete, and nothing to copy.
        kept = [each for each in told if each.status != 404] or told  # noqa: PLR2004 - HTTP
        status, words = _ended(call, kept)
        if words:
            raise _refusal(call, ask.model, status, words)
        await call.reply.answer(Answer(200, {"X-Request-Id": call.record.request_id}))


class _Telling:
    """One order on its way, with what the client is told of it meanwhile."""

    def __init__(self, call: Call, nodes: Sequence[PoolNode], *, is_streamed: bool) -> None:
        self._call = call
        self._nodes = nodes
        self._is_streamed = is_streamed
        self._progress = Progress(len(nodes))
        self._news = asyncio.Event()

    async def run(self, orders: Orders, order: Order) -> list[Told]:
        if not self._is_streamed:
            return await orders.tell_all(self._nodes, order, lambda *_: None)
        telling = asyncio.ensure_future(
            orders.tell_all(self._nodes, order, self._take, self._note_end)
        )
        telling.add_done_callback(lambda _: self._news.set())
        try:
            while not telling.done():
                await self._news.wait()
                self._news.clear()
                await self._pass_on()
                await asyncio.wait({telling}, timeout=NEWS_INTERVAL_S)
            await self._pass_on()
            return telling.result()
        finally:
            if not telling.done():
                telling.cancel()
                await asyncio.wait({telling})

    def _take(self, number: int, record: Record) -> None:
        self._progress.take(number, record)
        self._news.set()

    def _note_end(self, number: int, told: Told) -> None:
        if told.error:
            self._progress.leave(number)
        self._news.set()

    async def _pass_on(self) -> None:
        lines = self._progress.news()
        if not lines:
            return
        reply, data = self._call.reply, b"".join(lines)
        if reply.is_committed:
            reply.write(data, None)
        else:
            request_id = self._call.record.request_id.encode("ascii")
            reply.begin(
                200,
                _NDJSON % request_id,
                data,
                length=None,
                stall_s=self._call.view.config.client_stall_timeout_s,
                closes=False,
            )
        await reply.drained()


def may_manage(call: Call) -> bool:
    """Whether the principal may change what nodes hold, be it of some models only."""
    return call.principal.manageable != ()


def _check_may_touch(call: Call, canonical: str) -> None:
    if not is_allowed(canonical, call.principal.manageable):
        raise RefusedRequestError(ErrorCode.MODEL_NOT_ALLOWED)


async def _ask(call: Call) -> Ask:
    body = call.body
    if body is None or call.caller.coding is not None:
        try:
            read = await intake.read_body(
                call, HELD_BODY_BYTES, call.claim, expects=call.caller.expects
            )
        except RefusedRequestError as error:
            if error.code is ErrorCode.PAYLOAD_TOO_LARGE:
                error.message = TOO_LARGE
            raise
        body = read if isinstance(read, bytes) else b""
    call.record.bytes_in = len(body)
    try:
        ask = asking.parse(call.route, body, max_body_bytes=HELD_BODY_BYTES)
    except BadRequestError as error:
        words = TOO_LARGE if error.code is ErrorCode.PAYLOAD_TOO_LARGE else error.detail
        raise RefusedRequestError(error.code, words, status=error.status) from error
    call.record.is_stream = ask.streaming
    entry = call.view.pools.models.get(ask.canonical)
    if entry is not None:
        call.record.model = entry.model.name
    return ask


def _query(call: Call) -> str:
    return call.target.partition("?")[2].partition("#")[0]


def _order(call: Call, body: bytes) -> Order:
    fields = b"%bX-Request-Id: %b\r\n" % (call.caller.fields, call.record.request_id.encode())
    return Order(call.route.method, call.route.path, fields, body, call.view.config)


def _text(raw: msgspec.Raw) -> str:
    try:
        return msgspec.json.decode(raw, type=str).strip(" ")
    except msgspec.DecodeError:
        return ""


def _digests(members: dict[str, msgspec.Raw]) -> list[str]:
    """The blobs that a create names."""
    digests: list[str] = []
    for key in _FILES & members.keys():
        try:
            digests += msgspec.json.decode(members[key], type=dict[str, str]).values()
        except msgspec.DecodeError:
            continue  # the node has the words for it
    return digests


def _canonical(name: str) -> str:
    try:
        return canonical_name(name)
    except InvalidModelNameError as error:
        raise RefusedRequestError(ErrorCode.INVALID_MODEL) from error


def _unknown(call: Call, model: str) -> RefusedRequestError:
    return RefusedRequestError(ErrorCode.MODEL_NOT_FOUND, call.route.unknown_model(model))


def _ended(call: Call, told: Sequence[Told]) -> tuple[int, str]:
    """What has become of it, for the record as well."""
    record = call.record
    status, words = verdict(told)
    record.attempts = len(told)
    record.detail = ", ".join(each.node.name for each in told)[:500]
    record.outcome = Outcome.NODE_ERROR if words else Outcome.OK
    record.status = 200 if call.reply.is_committed else status
    return status, words


def _refusal(call: Call, model: str, status: int, words: str) -> RefusedRequestError:
    if status == 404:  # noqa: PLR2004 - HTTP
        return _unknown(call, model)
    return RefusedRequestError(
        ErrorCode.NODE_ERROR, words, status=status, detail=call.record.detail
    )


def _end_stream(call: Call, status: int, words: str, left_out: tuple[str, ...]) -> None:
    """The last record. A failure that was told is a clean end; what is cut off must not be."""
    reply, record = call.reply, call.record
    if left_out:
        sentence = LEFT_OUT.format(nodes=", ".join(left_out)[:500])
        reply.write(line_of(LeftOutRecord(sentence, left_out=left_out)), None)
    if not words:
        reply.write(line_of(Record(SUCCESS)), None)
    else:
        record.code = ErrorCode.NODE_ERROR
        reply.write(
            dialects.stream_error(
                call.route.framing, status, ErrorCode.NODE_ERROR, words, record.request_id
            ),
            None,
        )
    reply.finish()


def _json(call: Call, body: bytes) -> Answer:
    headers = {"Content-Type": dialects.JSON, "X-Request-Id": call.record.request_id}
    return Answer(200, headers, body)
