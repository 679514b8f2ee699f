"""/livez, /readyz and /metrics of all workers together, on the one bind that operators know.

Live: this answers. Ready: at least one worker is; a new connection may still reach one that is not,
for as long as that one listens. Metrics: added up, see `sums`. A worker that does not answer in
time is left out, so that a frozen one hides nothing about the others.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Any, Final

import msgspec
import uvloop
from aiohttp import web

from data_plane.settings import LISTEN_BACKLOG
from data_plane.telemetry.metrics import NOT_ADDED
from data_plane.workers.sums import Sums

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data_plane.host.board import Board

ANSWER_LIMIT_S: Final = 0.8
"""Below the second that orchestrators' probes wait by default."""

MAX_ANSWER_BYTES: Final = 16 * 1024 * 1024

_OK: Final = 200


def gather(listener: socket.socket, group: str, board: Board, addresses: Mapping[int, Any]) -> int:
    """Serve until killed. `addresses`: where each worker answers."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(listener, Gathering(group, board, addresses)))
    return 0


async def _serve(listener: socket.socket, gathering: Gathering) -> None:
    runner = web.ServerRunner(web.Server(gathering.answer, access_log=None), handle_signals=False)
    await runner.setup()
    await web.SockSite(runner, listener, backlog=LISTEN_BACKLOG).start()
    await asyncio.Event().wait()


class Gathering:
    """Asks the workers and puts their answers together."""

    def __init__(self, group: str, board: Board, addresses: Mapping[int, Any]) -> None:
        self._group = group
        self._board = board
        self._addresses = addresses
        self._sums = Sums(NOT_ADDED)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Serve one request of an operator."""
        if request.method not in {"GET", "HEAD"}:
            return web.Response(status=405, text="405 method not allowed", headers={"Allow": "GET"})
        match request.path:
            case "/livez":
                return web.Response(text="ok")
            case "/readyz":
                return await self._readiness(is_verbose="verbose" in request.query)
            case "/metrics":
                return web.Response(
                    body=await self._metrics(),
                    headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"},
                )
            case _:
                return web.Response(status=404, text="404 page not found")

    async def _metrics(self) -> str:
        starts = {number: self._board.starts(number) for number in self._addresses}
        found = await self._ask_all("/metrics")
        texts = {
            number: body.decode()
            for number, (status, body) in found.items()
            # Another life's counts would be taken for those of the one before.
            if status == _OK and self._board.starts(number) == starts[number]
        }
        return self._sums.add_up(starts, texts) + (
            "# HELP aivonx_workers Workers that answered.\n# TYPE aivonx_workers gauge\n"
            f"aivonx_workers {len(texts)}\n"
            "# HELP aivonx_worker_starts_total Starts of workers, the first ones included.\n"
            "# TYPE aivonx_worker_starts_total counter\n"
            f"aivonx_worker_starts_total {sum(starts.values())}\n"
        )

    async def _readiness(self, *, is_verbose: bool) -> web.Response:
        found = await self._ask_all("/readyz?verbose")
        ready = sum(status == _OK for status, _ in found.values())
        status = 200 if ready else 503
        if not is_verbose:
            return web.Response(status=status, text="ok" if ready else "not ready")
        facts = [
            {"worker": number, **msgspec.json.decode(found[number][1])} for number in sorted(found)
        ]
        # Of the worker that is furthest behind: what stands here is true of all.
        last = min(facts, key=lambda fact: fact["revision"] or 0, default={})
        body = {
            "ready": bool(ready),
            "checks": {"workers": "ok" if ready else "no worker is ready"},
            "instance": self._group,
            "epoch": last.get("epoch"),
            "revision": last.get("revision"),
            "in_flight": sum(fact["in_flight"] for fact in facts),
            "workers_ready": ready,
            "workers_wanted": len(self._addresses),
            "workers": facts,
        }
        return web.Response(
            status=status, body=msgspec.json.encode(body), content_type="application/json"
        )

    async def _ask_all(self, target: str) -> dict[int, tuple[int, bytes]]:
        """What each worker answers to a GET; those that do not answer are left out."""
        numbers = list(self._addresses)
        answers = await asyncio.gather(
            *(_ask(self._addresses[number], target) for number in numbers)
        )
        return {number: answer for number, answer in zip(numbers, answers, strict=True) if answer}


async def _ask(address: Any, target: str) -> tuple[int, bytes] | None:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    try:
        async with asyncio.timeout(ANSWER_LIMIT_S):
            sock.connect(address)  # at once, or not at all when the worker has stopped accepting
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=MAX_ANSWER_BYTES)
            try:
                writer.write(f"GET {target} HTTP/1.0\r\n\r\n".encode())
                head, _, body = (await reader.read(MAX_ANSWER_BYTES)).partition(b"\r\n\r\n")
                while data := await reader.read(MAX_ANSWER_BYTES):
                    body += data
            finally:
                writer.close()
        return int(head.split(b" ", 2)[1]), body
    except (OSError, ValueError, IndexError):
        sock.close()
        return None
