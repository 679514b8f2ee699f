"""A node that is not there: a real HTTP server that behaves as Ollama 0.33 does.

In a test:      async with FakeOllama(models=["llama3.2"]) as node: ... node.url, node.fault(...)
As a process:   python -m fakes.ollama --port 0 --models llama3.2,qwen3:8b --name fast
                (prints `{"ready": "http://127.0.0.1:40123", ...}` once it listens)

A process is steered through `/__control`, see `control.py`. The truth that this imitates is in
the reference of Ollama's API; where the two differ, this file is wrong.
"""

import argparse
import asyncio
import json
import os
import signal
import socket
import ssl
import sys
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Final, Self

from aiohttp import web
from fakes.control import CONTROL_PATH, control
from fakes.faults import Fault, FaultKind, StreamEndError
from fakes.ollama_models import FakeModel, Library, canonical
from fakes.ollama_node import Count, Node, Recorded, Speed
from fakes.ollama_routes import INFERENCE, dispatch
from fakes.ollama_scheduler import Limits

_NO_LIMIT = 2**40
# The Go server never closes an idle connection by itself.
_KEEPALIVE_S = 86_400.0


ACCEPT_TURNS: Final = 5
"""Turns of the loop until an accepted connection is one of the server's: a task that makes the
transport, its callbacks, and the abort's own; two to spare."""


class FakeOllama:
    """One fake node, listening on a port that the kernel chose."""

    def __init__(
        self,
        models: Iterable[str | FakeModel] = ("llama3.2:latest",),
        *,
        name: str = "fake",
        version: str = "0.33.0",
        host: str = "127.0.0.1",
        port: int = 0,
        prefix: str = "",
        token: str | None = None,
        health_route: bool = False,
        signed_in: bool = False,
        tokens_per_s: float = 0.0,
        prompt_tokens_per_s: float = 0.0,
        load_s: float = 0.0,
        pull_s: float = 0.0,
        num_parallel: int = 1,
        max_loaded: int = 3,
        max_queue: int = 512,
        keep_alive_s: float = 300.0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        """Nothing listens before the `async with`."""
        self.node = Node(
            name=name,
            version=version,
            library=Library(models),
            limits=Limits(num_parallel, max_loaded, max_queue, keep_alive_s),
            speed=Speed(tokens_per_s, prompt_tokens_per_s, load_s, pull_s),
            token=token,
            prefix=prefix.rstrip("/"),
            health_route=health_route,
            signed_in=signed_in,
        )
        self.host = host
        self.port = port
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self._listener: asyncio.Server | None = None
        self._held: socket.socket | None = None

    async def __aenter__(self) -> Self:
        """Listen."""
        app = web.Application(client_max_size=_NO_LIMIT)
        app.router.add_route("*", "/{tail:.*}", self._handle)
        app.on_response_prepare.append(_as_go_answers)
        self._runner = web.AppRunner(
            app,
            access_log=None,
            handler_cancellation=True,
            keepalive_timeout=_KEEPALIVE_S,
            auto_decompress=False,
            handle_signals=False,
            shutdown_timeout=0.0,
        )
        await self._runner.setup()
        self.node.scheduler.start()
        await self._listen()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close everything at once, as the real server does on a signal."""
        await self._unlisten()
        if self._held is not None:
            self._held.close()
        # A connection accepted just before has its protocol only some turns of the loop later.
        for _ in range(ACCEPT_TURNS):
            self.drop_connections()
            await asyncio.sleep(0)
        if self._runner is not None:
            await self._runner.cleanup()
        await self.node.scheduler.stop()

    @property
    def url(self) -> str:
        """The node's address as an operator would enter it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http{'s' if self._tls else ''}://{host}:{self.port}{self.node.prefix}"

    @property
    def requests(self) -> list[Recorded]:
        """Every request so far, except those to /__control."""
        return self.node.requests

    @property
    def inference(self) -> list[Recorded]:
        """The requests to inference routes: no probes, no inventory."""
        prefix = self.node.prefix
        return [
            seen
            for seen in self.node.requests
            if seen.path.split("?", 1)[0].removeprefix(prefix) in INFERENCE
        ]

    @property
    def count(self) -> Count:
        """Running, peak, finished and cancelled inference requests."""
        return self.node.count

    @property
    def active(self) -> int:
        """Inference requests running now."""
        return self.node.count.active

    @property
    def peak(self) -> int:
        """The most inference requests that ran at once."""
        return self.node.count.peak

    @property
    def cancelled(self) -> int:
        """Inference requests whose client went away."""
        return self.node.count.cancelled

    def fault(
        self,
        kind: FaultKind | str,
        *,
        path: str | None = None,
        model: str | None = None,
        times: int | None = None,
        after: int | None = None,
        seconds: float = 0.0,
        status: int = 500,
        text: str = "injected fault",
    ) -> Fault:
        """Put a fault on the node; see `faults.py` for the kinds."""
        key = canonical(model) if model else None
        fault = Fault(FaultKind(kind), path, key, times, after, seconds, status, text)
        return self.node.faults.add(fault)

    def clear_faults(self) -> None:
        """Healthy again; stalled answers go on."""
        self.node.faults.clear()

    async def refuse(self) -> None:
        """Close the port and every connection; the port stays ours."""
        await self._unlisten()
        self.drop_connections()
        # Bound but not listening: the kernel refuses, and nobody else gets the port.
        self._held = _bound(self.host, self.port)

    async def accept(self) -> None:
        """Listen again after `refuse`."""
        if self._held is not None:
            self._held.close()
            self._held = None
        await self._listen()

    def drop_connections(self) -> None:
        """Cut every open connection."""
        if self._runner is not None and self._runner.server is not None:
            for connection in self._runner.server.connections:
                if connection.transport is not None:
                    connection.transport.abort()

    async def _listen(self) -> None:
        listener = _bound(self.host, self.port)
        self.port = listener.getsockname()[1]
        if self._runner is None or self._runner.server is None:
            message = "the fake node is used outside its async with"
            raise RuntimeError(message)
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            self._runner.server, sock=listener, ssl=self._tls, backlog=1_024
        )

    async def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == CONTROL_PATH:
            return await control(self, request)
        try:
            return await dispatch(self.node, request)
        except (StreamEndError, ConnectionResetError):
            # The connection is gone, by a fault or by the client: aiohttp adds nothing to it
            # (and logs nothing about it) only when the handler ends as a cancelled one.
            raise asyncio.CancelledError from None


async def _as_go_answers(_: web.Request, answer: web.StreamResponse) -> None:
    """Go names no server."""
    answer.headers.pop("Server", None)


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    raw = socket.socket(family, socket.SOCK_STREAM)
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    raw.bind((host, port))
    return raw


def _arguments(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fakes.ollama", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0: the kernel chooses")
    parser.add_argument("--prefix", default="", help="path in front of every route")
    parser.add_argument("--name", default="fake", help="what the answers call this node")
    parser.add_argument("--version", default="0.33.0")
    parser.add_argument("--models", default="llama3.2:latest", help="comma-separated names")
    parser.add_argument("--token", default=None, help="bearer token that every request needs")
    parser.add_argument("--health-route", action="store_true", help="answer /api/health")
    parser.add_argument("--signed-in", action="store_true", help="cloud models work")
    for knob in ("tokens-per-s", "prompt-tokens-per-s", "load-s", "pull-s"):
        parser.add_argument(f"--{knob}", type=float, default=0.0, help="0: at once")
    parser.add_argument("--num-parallel", type=int, default=1, help="slots of a loaded model")
    parser.add_argument("--max-loaded", type=int, default=3, help="models in memory at once")
    parser.add_argument("--max-queue", type=int, default=512, help="loads that may wait")
    parser.add_argument("--keep-alive-s", type=float, default=300.0)
    return parser.parse_args(argv)


async def serve(knobs: dict[str, Any]) -> None:
    """Run until SIGINT or SIGTERM."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    models = [name for name in knobs.pop("models").split(",") if name]
    async with FakeOllama(models, **knobs) as node:
        ready = {"ready": node.url, "pid": os.getpid(), "name": node.node.name}
        sys.stdout.write(json.dumps(ready) + "\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(serve(vars(_arguments(sys.argv[1:]))))
