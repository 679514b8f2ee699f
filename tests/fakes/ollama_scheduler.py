"""The node's scheduler: slots, one load at a time, eviction, keep_alive, the pending queue.

What a balancer can feel of the real one, and nothing more:
* a loaded model with the same load-time options is used at once, past the queue, then waits in
  order for one of `num_parallel` slots; this never answers 503;
* everything else enters the pending queue (full: 503) and one loader serves it in order, so a
  load blocks every other load behind it;
* a load is aborted when the one who asked for it leaves; a queued one is dropped lazily;
* when full, an idle model with the shortest keep_alive goes; busy ones are waited for.
"""

import asyncio
import contextlib
import json
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial

from fakes.ollama_json import Json, local_stamp
from fakes.ollama_models import FakeModel

FOREVER_S = 292 * 365.25 * 86_400
LOAD_OPTIONS = ("num_ctx", "num_batch", "num_gpu", "main_gpu", "use_mmap", "num_thread")


class BusyError(Exception):
    """The pending queue is full."""


@dataclass(slots=True)
class Runner:
    """One loaded model."""

    model: FakeModel
    options: str
    context_length: int
    free_slots: int
    keep_alive_s: float
    active: int = 0
    expires_at: float = 0.0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    timer: asyncio.TimerHandle | None = None
    unload_when_idle: bool = False

    async def take_slot(self) -> None:
        """Wait, first come first served, for one of the slots."""
        if self.free_slots > 0 and not self.waiting:
            self.free_slots -= 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give_slot()
            raise

    def give_slot(self) -> None:
        """Hand the slot to the next one in line, or put it back."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.free_slots += 1

    def listed(self) -> Json:
        """One entry of /api/ps."""
        details = self.model.details()
        del details["parent_model"], details["context_length"], details["embedding_length"]
        size = self.model.size + self.context_length * 1_024
        return {
            "name": self.model.name,
            "model": self.model.name,
            "size": size,
            "digest": self.model.digest,
            "details": details,
            "expires_at": local_stamp(min(self.expires_at, time.time() + FOREVER_S)),
            "size_vram": size,
            "context_length": self.context_length,
        }


@dataclass(slots=True)
class _Wish:
    model: FakeModel
    options: str
    context_length: int
    keep_alive_s: float | None
    granted: asyncio.Future[Runner]


@dataclass(frozen=True, slots=True)
class Limits:
    """The node's environment variables, by their meaning."""

    num_parallel: int = 1
    max_loaded: int = 3
    max_queue: int = 512
    keep_alive_s: float = 300.0
    num_ctx: int = 4_096


class Scheduler:
    """Which models are in memory, and who may use them now."""

    def __init__(self, limits: Limits, load_s: Callable[[FakeModel], float]) -> None:
        """`load_s` says how long a model takes to load, asked at each load."""
        self.limits = limits
        self.loads = 0
        self._load_s = load_s
        self._loaded: dict[str, Runner] = {}
        self._pending: deque[_Wish] = deque()
        self._wished = asyncio.Event()
        self._changed = asyncio.Event()
        self._loader: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to serve the pending queue."""
        self._loader = asyncio.create_task(self._serve_pending(), name="fake-loader")

    async def stop(self) -> None:
        """Stop the loader and every timer."""
        if self._loader is not None:
            self._loader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._loader
        for runner in self._loaded.values():
            if runner.timer is not None:
                runner.timer.cancel()

    def empty(self) -> None:
        """Let go of every model, of those that are busy when they are idle."""
        for runner in list(self._loaded.values()):
            runner.unload_when_idle = True
            if runner.active == 0:
                self._unload(runner)

    def listed(self) -> list[Json]:
        """The answer of /api/ps: the longest to live first; a loading model is not there."""
        runners = sorted(self._loaded.values(), key=lambda runner: -runner.expires_at)
        return [runner.listed() for runner in runners]

    @contextlib.asynccontextmanager
    async def using(
        self, model: FakeModel, options: Json, keep_alive_s: float | None
    ) -> AsyncIterator[tuple[Runner, int]]:
        """Hold a slot of the loaded model; the number is how many ns the load took."""
        began = time.monotonic_ns()
        runner = await self.loaded(model, options, keep_alive_s)
        load_ns = max(time.monotonic_ns() - began, 1_000)
        try:
            await runner.take_slot()
            try:
                yield runner, load_ns
            finally:
                runner.give_slot()
        finally:
            self._leave(runner)

    @contextlib.asynccontextmanager
    async def holding(
        self, model: FakeModel, options: Json, keep_alive_s: float | None
    ) -> AsyncIterator[int]:
        """The load form: make sure that the model is in memory, take no slot."""
        began = time.monotonic_ns()
        runner = await self.loaded(model, options, keep_alive_s)
        try:
            yield max(time.monotonic_ns() - began, 1_000)
        finally:
            self._leave(runner)

    async def loaded(self, model: FakeModel, options: Json, keep_alive_s: float | None) -> Runner:
        """A runner with this request counted on it."""
        asked = {key: options[key] for key in LOAD_OPTIONS if key in options}
        key = json.dumps(asked, sort_keys=True)
        runner = self._loaded.get(model.digest)
        if runner is not None and runner.options == key:
            self._enter(runner, keep_alive_s)
            return runner
        if len(self._pending) >= self.limits.max_queue:
            raise BusyError
        context = min(int(asked.get("num_ctx", self.limits.num_ctx)), model.context_length)
        granted: asyncio.Future[Runner] = asyncio.get_running_loop().create_future()
        self._pending.append(_Wish(model, key, context, keep_alive_s, granted))
        self._wished.set()
        try:
            return await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._leave(granted.result())
            raise

    def expire(self, model: FakeModel) -> None:
        """The unload form: gone as soon as it is idle."""
        runner = self._loaded.get(model.digest)
        if runner is None:
            return
        runner.unload_when_idle = True
        runner.expires_at = time.time()
        if runner.active == 0:
            self._unload(runner)

    def _enter(self, runner: Runner, keep_alive_s: float | None) -> None:
        runner.active += 1
        if keep_alive_s is not None:
            runner.keep_alive_s = keep_alive_s
            runner.unload_when_idle = False
        if runner.timer is not None:
            runner.timer.cancel()
            runner.timer = None

    def _leave(self, runner: Runner) -> None:
        """Only here, when a runner goes idle, is `expires_at` moved forward."""
        runner.active -= 1
        self._changed.set()
        if runner.active > 0:
            return
        alive_s = 0.0 if runner.unload_when_idle else runner.keep_alive_s
        if alive_s < 0:
            runner.expires_at = time.time() + FOREVER_S
        elif alive_s == 0:
            self._unload(runner)
        else:
            runner.expires_at = time.time() + alive_s
            loop = asyncio.get_running_loop()
            runner.timer = loop.call_later(min(alive_s, 1e8), self._unload, runner)

    def _unload(self, runner: Runner) -> None:
        if runner.timer is not None:
            runner.timer.cancel()
        if self._loaded.get(runner.model.digest) is runner:
            del self._loaded[runner.model.digest]
        self._changed.set()

    async def _serve_pending(self) -> None:
        while True:
            while not self._pending:
                self._wished.clear()
                await self._wished.wait()
            wish = self._pending.popleft()
            if wish.granted.cancelled():
                continue
            work = asyncio.create_task(self._grant(wish), name="fake-load")
            wish.granted.add_done_callback(partial(_cancel, work))
            await asyncio.wait({work})

    async def _grant(self, wish: _Wish) -> None:
        runner = self._loaded.get(wish.model.digest)
        if runner is None or runner.options != wish.options:
            runner = await self._load(wish)
        self._enter(runner, wish.keep_alive_s)
        wish.granted.set_result(runner)

    async def _load(self, wish: _Wish) -> Runner:
        await self._make_room(wish.model.digest)
        await asyncio.sleep(self._load_s(wish.model))
        alive = wish.keep_alive_s
        runner = Runner(
            model=wish.model,
            options=wish.options,
            context_length=wish.context_length,
            # An embedding-only model has one slot whatever is set.
            free_slots=1 if wish.model.capabilities == ("embedding",) else self.limits.num_parallel,
            keep_alive_s=self.limits.keep_alive_s if alive is None else alive,
        )
        self.loads += 1
        runner.expires_at = time.time() + max(runner.keep_alive_s, 0)
        self._loaded[wish.model.digest] = runner
        return runner

    async def _make_room(self, digest: str) -> None:
        """Unload the same weights with other options, and victims while the node is full."""
        while True:
            same = self._loaded.get(digest)
            if same is None and len(self._loaded) < self.limits.max_loaded:
                return
            victim = same or min(self._loaded.values(), key=_eviction_rank)
            if victim.active == 0:
                self._unload(victim)
                continue
            self._changed.clear()
            await self._changed.wait()


def _cancel(work: asyncio.Task[None], _: asyncio.Future[Runner]) -> None:
    """The one who asked has left, or has been served already (then this does nothing)."""
    work.cancel()


def _eviction_rank(runner: Runner) -> tuple[bool, float]:
    alive_s = runner.keep_alive_s
    return runner.active > 0, math.inf if alive_s < 0 else alive_s
