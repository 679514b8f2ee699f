"""Simulated nodes on real sockets: `node.SimNode`, in the time that passes here, behind HTTP.

    nodes.py SCENARIO SEED COUNT [--peer]

One process is a whole cluster. It prints one line of JSON, the ports by node, and serves until it
is ended. `--peer` answers GET /health with 200, which routers made for other engines ask for and
Ollama does not have. `/_/facts` tells what happened, `/_/fault` takes a fault: {"slower": 4},
{"hangs": true} (whatever needs a load waits forever), {"status": 500}, {"resets": true}.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any, Final

from aiohttp import web
from routing.answers import Book, form_of
from routing.node import SimNode
from routing.runner import Job
from routing.scenarios import holders_of, requests_of
from routing.suite import BY_NAME

if TYPE_CHECKING:
    from collections.abc import Sequence

    from routing.answers import Ask, Native, OpenAI
    from routing.runner import Record
    from routing.scenarios import Request, Scenario

PULSE_S: Final = 0.05  # tokens of this long leave together: what is measured is not the kernel
MAX_BODY: Final = 64 * 2**20
VERSION: Final = "0.33.0"
BUSY: Final = "server busy, please try again.  maximum pending requests exceeded"
MODEL_ROUTES: Final = (
    "/api/chat",
    "/api/generate",
    "/api/embed",
    "/v1/chat/completions",
)


class Call:
    """One request that a node works on."""

    def __init__(self, job: Job) -> None:
        loop = asyncio.get_running_loop()
        self.job = job
        self.began: asyncio.Future[None] = loop.create_future()
        self.record: asyncio.Future[Record] = loop.create_future()


@dataclass
class Faults:
    """What is wrong with a node just now."""

    slower: float = 1.0
    hangs: bool = False
    status: int = 0
    resets: bool = False


@dataclass
class Facts:
    """What a node has seen, for the report."""

    served: int = 0
    refused: int = 0
    cached: dict[int, int] = field(default_factory=dict)
    late_s: float = 0.0  # the worst delay of a timer of ours: above 0.1 the machine was too busy


class Served:
    """A node and who waits for it."""

    def __init__(self, name: str, sim: SimNode, models: Sequence[str], book: Book) -> None:
        self.name, self.sim, self.models, self.book = name, sim, models, book
        self.faults, self.facts = Faults(), Facts()
        self.calls: dict[Job, Call] = {}
        self.transports: dict[Job, asyncio.Transport] = {}
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        # From its own beginning: seconds since the machine started have too few digits behind the
        # point, and a node that never gets on asks for ever when something happens.
        self._zero = self._loop.time()

    def now(self) -> float:
        """Seconds since it is there."""
        return self._loop.time() - self._zero

    def submit(self, ask: Ask) -> Call | None:
        """A request comes. None: it is refused."""
        job = Job(
            ask.number or 0,
            ask.model,
            ask.tokens,
            ask.blocks,
            ask.whole,
            ask.output,
            ask.num_ctx,
            ask.is_embedding,
        )
        call = Call(job)
        if self.faults.hangs and not self._is_loaded(job):
            return call
        if not self.sim.submit(job, self.now()):
            self.facts.refused += 1
            return None
        self.calls[job] = call
        self.look()
        return call

    def leave(self, call: Call) -> None:
        """Nobody waits for it any more: its slot is free."""
        if self.calls.pop(call.job, None) is not None:
            self.sim.abort(call.job, self.now())
            self.look()

    def look(self) -> None:
        """Take in what the node has done, and come back when it does something next."""
        for report in self.sim.advance(self.now()):
            call = self.calls[report.job]
            if report.record is None:
                call.began.set_result(None)
                continue
            call.record.set_result(report.record)
            del self.calls[report.job]
            self.facts.served += 1
            self.facts.cached[report.job.number] = report.record.cached_tokens
        if self._timer is not None:
            self._timer.cancel()
        at = self.sim.next_at()
        self._timer = self._loop.call_at(self._zero + at, self._due, at) if at < inf else None

    def fail(self, fault: dict[str, Any]) -> None:
        """From now on; what is not named stays. AttributeError: there is no such fault."""
        for name, value in fault.items():
            if not hasattr(self.faults, name):
                raise AttributeError(name)
            setattr(self.faults, name, value)
        now = self.now()
        self.sim.slow_down(self.faults.slower, now)
        if self.faults.resets:
            self.sim.die(now)
            self.calls.clear()
            for transport in self.transports.values():
                transport.abort()
        self.look()

    def _due(self, at: float) -> None:
        self.facts.late_s = max(self.facts.late_s, self.now() - at)
        self.look()

    def _is_loaded(self, job: Job) -> bool:
        runner = self.sim.runners.get(job.model)
        return runner is not None and runner.context == job.context


class Face:
    """The routes of one node."""

    def __init__(self, node: Served, *, is_peer: bool) -> None:
        self.node, self.is_peer = node, is_peer

    def application(self) -> web.Application:
        """All that it serves; anything else is 404."""
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_get("/", self.greet)
        app.router.add_get("/api/version", self.version)
        app.router.add_get("/api/tags", self.tags)
        app.router.add_get("/api/ps", self.ps)
        app.router.add_get("/v1/models", self.openai_models)
        app.router.add_get("/_/facts", self.facts)
        app.router.add_post("/_/fault", self.fault)
        if self.is_peer:
            app.router.add_get("/health", self.greet)
        for path in MODEL_ROUTES:
            app.router.add_post(path, self.infer)
        return app

    async def greet(self, _request: web.Request) -> web.Response:
        """What `ollama` asks first."""
        return web.Response(text="Ollama is running")

    async def version(self, _request: web.Request) -> web.Response:
        """All nodes say the same."""
        return web.json_response({"version": VERSION})

    async def tags(self, _request: web.Request) -> web.Response:
        """On disk."""
        models = [self.node.sim.models[name] for name in self.node.models]
        listed = [{"name": f"{model.name}:latest", "size": int(model.size)} for model in models]
        return web.json_response({"models": listed})

    async def openai_models(self, _request: web.Request) -> web.Response:
        """The same for others."""
        listed = [{"id": name, "object": "model", "owned_by": "ours"} for name in self.node.models]
        return web.json_response({"object": "list", "data": listed})

    async def ps(self, _request: web.Request) -> web.Response:
        """In memory."""
        listed = [
            {
                "name": f"{runner.model.name}:latest",
                "model": f"{runner.model.name}:latest",
                "size": int(runner.memory),
                "size_vram": int(runner.memory),
                "context_length": runner.context,
            }
            for runner in self.node.sim.in_memory(self.node.now())
        ]
        self.node.look()
        return web.json_response({"models": listed})

    async def facts(self, _request: web.Request) -> web.Response:
        """For the report."""
        seen = self.node.facts
        return web.json_response({**seen.__dict__, "loads": self.node.sim.loads})

    async def fault(self, request: web.Request) -> web.Response:
        """Something goes wrong, or right again."""
        try:
            self.node.fail(await request.json())
        except AttributeError as unknown:
            raise web.HTTPBadRequest(text=f"there is no fault {unknown}") from None
        return web.json_response(self.node.faults.__dict__)

    async def infer(self, request: web.Request) -> web.StreamResponse:
        """Chat, generate, embed."""
        faults, transport = self.node.faults, request.transport
        if transport is None or faults.resets:
            if transport is not None:
                transport.abort()
            return web.Response()
        if faults.status:
            return _refusal(faults.status, "a fault that was asked for")
        ask = self.node.book.read(request.path, json.loads(await request.read()))
        if ask.model not in self.node.models:
            return _refusal(404, f'model "{ask.model}" not found, try pulling it first')
        call = self.node.submit(ask)
        if call is None:
            return _refusal(503, BUSY)
        self.node.transports[call.job] = transport
        try:
            return await self._answer(request, ask, call)
        finally:
            del self.node.transports[call.job]
            self.node.leave(call)

    async def _answer(self, request: web.Request, ask: Ask, call: Call) -> web.StreamResponse:
        form = form_of(request.path, ask)
        if not ask.is_streamed:
            record = await call.record
            return web.Response(body=form.whole(record), content_type="application/json")
        await call.began
        response = web.StreamResponse(headers={"Content-Type": form.content_type})
        await response.prepare(request)
        await self._write(response, form, call)
        return response

    async def _write(self, response: web.StreamResponse, form: Native | OpenAI, call: Call) -> None:
        told, tokens = 0, form.ask.output
        while True:
            written = tokens if call.record.done() else self._written(call)
            if written > told:
                # Four characters to a token, see scenarios.text_of.
                await response.write(form.piece(form.ask.answer[told * 4 : written * 4]))
                told = written
            if call.record.done():
                break
            await asyncio.wait({call.record}, timeout=PULSE_S)
        await response.write(form.end(call.record.result()))
        await response.write_eof()

    def _written(self, call: Call) -> int:
        return self.node.sim.written(call.job, self.node.now())


def _refusal(status: int, text: str) -> web.Response:
    return web.json_response({"error": text}, status=status)


def cluster_of(scenario: Scenario, requests: Sequence[Request]) -> dict[str, Served]:
    """The nodes of a scenario, cold."""
    book = Book(requests)
    held = {model.name: set(holders_of(scenario, model)) for model in scenario.models}
    return {
        name: Served(
            name,
            SimNode(preset, scenario.models),
            [model for model, holders in held.items() if name in holders],
            book,
        )
        for name, preset in scenario.nodes
    }


async def listen(nodes: dict[str, Served], *, is_peer: bool) -> tuple[dict[str, int], list[Any]]:
    """Open a port for each; the ports, and what has to be cleaned up."""
    ports, runners = {}, []
    for name, node in nodes.items():
        app = Face(node, is_peer=is_peer).application()
        # A client that leaves has to free its slot, as Ollama does it.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        ports[name] = runner.addresses[0][1]
        runners.append(runner)
    return ports, runners


async def serve(scenario: Scenario, seed: int, count: int, *, is_peer: bool) -> None:
    """Until somebody ends the process."""
    nodes = cluster_of(scenario, requests_of(scenario, seed, count))
    ports, _ = await listen(nodes, is_peer=is_peer)
    sys.stdout.write(json.dumps(ports) + "\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


def main() -> None:
    """Read what is asked for, and serve it."""
    parser = argparse.ArgumentParser(description="A simulated cluster on loopback")
    parser.add_argument("scenario", choices=sorted(BY_NAME))
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("--peer", action="store_true", help="GET /health is 200")
    options = parser.parse_args()
    with suppress(KeyboardInterrupt):
        asyncio.run(
            serve(BY_NAME[options.scenario], options.seed, options.count, is_peer=options.peer)
        )


if __name__ == "__main__":
    main()
