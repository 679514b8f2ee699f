"""Files for `create`: a blob is taken in once, checked, and given to every node that lacks it.

`ollama create` uploads each file and then says `create` on another connection, so the blob has to
be wherever `create` may run: on the nodes that the query names, else on the whole active pool. It
lies in a nameless file meanwhile, as large as AIVONX_SPOOL_BUDGET_BYTES leaves room for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from data_plane.protocol.large import LargeBody, Span
from data_plane.proxy import intake, targets
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.orders import Order, verdict
from data_plane.proxy.reply import Answer
from shared.codes import ErrorCode, Outcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from data_plane.proxy.call import Call
    from data_plane.proxy.orders import Orders, Told
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode
    from data_plane.upstream.stored import StoredFile

PREFIX: Final = "/api/blobs/"
_DIGEST: Final = re.compile(r"sha256[:-]([0-9a-fA-F]{64})")
_FIELDS: Final = b"%bX-Request-Id: %b\r\n"


class Blobs:
    """Serves /api/blobs/<digest>."""

    def __init__(self, orders: Orders, circuits: Circuits) -> None:
        self._orders = orders
        self._circuits = circuits

    async def serve(self, call: Call) -> None:
        """HEAD: whether every node has it. POST: see that every node has it."""
        found = _DIGEST.fullmatch(call.match.name) if call.match is not None else None
        if found is None:
            raise RefusedRequestError(ErrorCode.INVALID_DIGEST, closes=not call.content.is_eof())
        digest = found[1].lower()
        path = f"{PREFIX}sha256:{digest}"
        query = call.target.partition("?")[2].partition("#")[0]
        wish = targets.wish_in(query, may_replicate=False)
        nodes = targets.placed(wish, call.view.pools, "", self._circuits.down)
        lacking = await self._lacking(call, path, nodes)
        if call.method == "HEAD":
            await self._answer(call, 404 if lacking else 200)
        elif not lacking:
            # As Ollama does: what is there already need not be read. The connection ends with it.
            await self._answer(call, 200, closes=not call.content.is_eof())
        else:
            await self._give(call, path, digest, lacking)

    async def having(
        self, call: Call, digests: Iterable[str], nodes: Sequence[PoolNode]
    ) -> tuple[PoolNode, ...]:
        """Those of the nodes that have every blob; all of them when none has.

        A node that has come since the upload does not have them; where none has them, it is a
        node's part to say so.
        """
        paths = {
            f"{PREFIX}sha256:{found[1].lower()}"
            for digest in digests
            if (found := _DIGEST.fullmatch(digest)) is not None
        }
        left = list(nodes)
        for path in sorted(paths):
            order = Order("HEAD", path, _fields(call), None, call.view.config)
            told = await self._orders.tell_all(left, order)
            left = [each.node for each in told if not each.error]
        return tuple(left) or tuple(nodes)

    async def _lacking(self, call: Call, path: str, nodes: Sequence[PoolNode]) -> list[PoolNode]:
        order = Order("HEAD", path, _fields(call), None, call.view.config)
        told = await self._orders.tell_all(nodes, order)
        unreached = [each for each in told if not each.status]
        if unreached:
            raise _failed(call, unreached)
        return [each.node for each in told if each.error]

    async def _give(self, call: Call, path: str, digest: str, nodes: Sequence[PoolNode]) -> None:
        store, found = await _stored(call)
        if found != digest:
            expected = f'digest mismatch, expected "sha256:{digest}", got "sha256:{found}"'
            raise RefusedRequestError(ErrorCode.DIGEST_MISMATCH, expected)
        body = LargeBody(store, (Span(0, store.size),))
        order = Order("POST", path, _fields(call), body, call.view.config)
        told = await self._orders.tell_all(nodes, replace(order, fields=_plain(order.fields)))
        failed = [each for each in told if each.error]
        if failed:
            raise _failed(call, failed)
        await self._answer(call, 201)

    async def _answer(self, call: Call, status: int, *, closes: bool = False) -> None:
        record = call.record
        record.status, record.outcome = status, Outcome.OK
        headers = {"X-Request-Id": record.request_id}
        await call.reply.answer(Answer(status, headers, closes=closes))


async def _stored(call: Call) -> tuple[StoredFile, str]:
    """The body on disk, and its SHA-256."""
    sha256 = hashlib.sha256()

    def take(piece: bytes) -> None:
        sha256.update(piece)

    store = await intake.store_body(call, call.claim, take)
    call.record.bytes_in = store.size
    return store, sha256.hexdigest()


def _fields(call: Call) -> bytes:
    return _FIELDS % (call.caller.fields, call.record.request_id.encode())


def _plain(fields: bytes) -> bytes:
    """A file is no JSON, whatever a client says that it sends."""
    return fields.replace(b"application/json", b"application/octet-stream")


def _failed(call: Call, told: Sequence[Told]) -> RefusedRequestError:
    status, words = verdict(told)
    if status not in range(400, 600):
        status = 502
    named = "; ".join(f"{each.node.name}: {each.error}" for each in told)[:1_000]
    return RefusedRequestError(
        ErrorCode.NODE_ERROR, named or words, status=status, closes=not call.content.is_eof()
    )
