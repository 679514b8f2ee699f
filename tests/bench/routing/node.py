"""One Ollama node that computes nothing: its scheduler, its runners and the time that they take.

Pure: who uses it says what time it is (seconds), and asks when something happens next. Copied are
the rules that cost seconds (server/sched.go, llm/llama_server.go and llama-server, August 2026):

* A model that is in memory with the same context is used at once, past the queue, and then waits,
  first come first served, for one of the runner's slots; without bound, and even while the runner
  is to leave. All else waits for the one loader; when `MAX_PENDING` do, it is refused (503).
* The loader handles one request at a time: what has to leave leaves first, after its answers.
  Idle runners leave first; of these, and if none is idle, the first by keep-alive, then by name.
* A free slot that holds more than a tenth of the prompt goes on from there, the longest first;
  else the slot that was used longest ago begins anew.
* Prompts are read in pieces of `BATCH_TOKENS`, the first come first, each together with one token
  of every answer that is being written. Runners at work share the device evenly.

Between two events all speeds are constant, so that no token is computed by itself.
"""

from __future__ import annotations

from collections import deque
from math import inf
from typing import TYPE_CHECKING

from routing.runner import Job, Record, Report, Runner, Slot
from routing.scenarios import BLOCK_TOKENS

from data_plane.routing.prefix import common

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.scenarios import Preset, SimModel

MAX_LOADED = 3
MAX_PENDING = 512
BATCH_TOKENS = 512
START_S = 1.0  # of a runner, before it reads its model
LEAST_COMMON = 0.1
NEARLY = 1e-9


class SimNode:
    """See above. Time never goes back."""

    def __init__(self, preset: Preset, models: Iterable[SimModel]) -> None:
        self.preset = preset
        self.models = {model.name: model for model in models}
        self.runners: dict[str, Runner] = {}
        self.pending: deque[Job] = deque()
        self.slower = 1.0
        self.loads = 0
        self._loading: Runner | None = None
        self._draining: Runner | None = None  # the loader waits until it has left
        self._now = 0.0
        self._reports: list[Report] = []

    # What is done to it

    def submit(self, job: Job, now: float) -> bool:
        """A request comes. False: it is refused, 503."""
        self._work_until(now)
        job.came_at = now
        runner = self.runners.get(job.model)
        if runner is not None and runner.context == job.context:
            self._join(runner, job)
        elif len(self.pending) >= MAX_PENDING:
            return False
        else:
            self.pending.append(job)
            self._load_next()
        return True

    def abort(self, job: Job, now: float) -> None:
        """The client has left. A load that it asked for goes on."""
        self._work_until(now)
        if job in self.pending:
            self.pending.remove(job)
            return
        runner = self.runners.get(job.model)
        if runner is None:
            return
        if job in runner.queue:
            runner.queue.remove(job)
        elif job.slot is not None and (job in runner.reading or job in runner.writing):
            (runner.reading if job in runner.reading else runner.writing).remove(job)
            read = len(job.blocks) - int(job.unread / BLOCK_TOKENS)
            self._give_back(runner, job.slot, job.blocks[:read])
        self._rest(runner)

    def die(self, now: float) -> list[Job]:
        """All at once. Returns the requests that are lost."""
        self._work_until(now)
        lost = list(self.pending)
        for runner in self.runners.values():
            lost += [*runner.queue, *runner.reading, *runner.writing]
        self.pending.clear()
        self.runners.clear()
        self._loading = self._draining = None
        return lost

    def slow_down(self, times: float, now: float) -> None:
        """From now on everything but loads takes so many times as long; 1: as ever."""
        self._work_until(now)
        self.slower = times

    # What is asked of it

    def advance(self, now: float) -> list[Report]:
        """Everything that has happened up to now and was not told yet, in order."""
        self._work_until(now)
        reports, self._reports = self._reports, []
        return reports

    def next_at(self) -> float:
        """When something happens next, if nobody does anything; infinite: never."""
        at = inf
        shared = self._busy()
        for runner in self.runners.values():
            at = min(at, self._next_of(runner, shared))
        return at

    def written(self, job: Job, now: float) -> int:
        """Tokens of its answer so far."""
        self._work_until(now)
        runner = self.runners.get(job.model)
        if job.first_at is None or runner is None:
            return 0
        return min(job.output, int(job.output - (job.ends_at_step - runner.steps) + NEARLY))

    def in_memory(self, now: float) -> list[Runner]:
        """What /api/ps lists: a runner that is loading too."""
        self._work_until(now)
        return sorted(self.runners.values(), key=lambda runner: runner.expires_at)

    # The device

    def _work_until(self, now: float) -> None:
        while (at := self.next_at()) <= now:
            self._work(at - self._now)
            self._now = at
            self._happen()
        self._work(now - self._now)
        self._now = max(self._now, now)

    def _busy(self) -> int:
        return sum(1 for runner in self.runners.values() if runner.reading or runner.writing)

    def _speeds(self, runner: Runner, shared: int) -> tuple[float, float]:
        """Of the prompt that is read, and of each answer, in tokens per second."""
        slower = self.slower * shared * runner.model.scale
        decoding = len(runner.writing)
        step_s = (1.0 + self.preset.crowding * (decoding - 1)) / self.preset.decode * slower
        if not runner.reading:
            return 0.0, 1.0 / step_s
        piece_s = BATCH_TOKENS / self.preset.prefill * slower
        if not decoding:
            return BATCH_TOKENS / piece_s, 0.0
        return BATCH_TOKENS / (piece_s + step_s), 1.0 / (piece_s + step_s)

    def _next_of(self, runner: Runner, shared: int) -> float:
        if runner is self._loading:
            return runner.ready_at
        if not runner.reading and not runner.writing:
            return max(runner.expires_at, self._now)
        read, write = self._speeds(runner, shared)
        left_s = inf
        if runner.reading:
            left_s = runner.reading[0].unread / read
        if runner.writing:
            ends = min(job.ends_at_step for job in runner.writing)
            left_s = min(left_s, (ends - runner.steps) / write)
        return self._now + max(left_s, 0.0)

    def _work(self, seconds: float) -> None:
        if seconds <= 0:
            return
        shared = self._busy()
        for runner in self.runners.values():
            if runner.reading or runner.writing:
                read, write = self._speeds(runner, shared)
                runner.steps += write * seconds
                if runner.reading:
                    runner.reading[0].unread -= read * seconds

    def _happen(self) -> None:
        """Whatever is due now."""
        for runner in list(self.runners.values()):
            if runner is self._loading and runner.ready_at <= self._now:
                self._loaded(runner)
            if runner.reading and runner.reading[0].unread <= NEARLY * BATCH_TOKENS:
                self._has_read(runner, runner.reading.pop(0))
            for job in [
                each for each in runner.writing if each.ends_at_step <= runner.steps + 1e-6
            ]:
                runner.writing.remove(job)
                self._finish(runner, job)
            if runner.is_idle and runner.expires_at <= self._now:
                self._unload(runner)

    # Requests in a runner

    def _join(self, runner: Runner, job: Job) -> None:
        runner.expires_at = inf
        runner.keep_alive_s = job.keep_alive_s
        job.joined_at = self._now
        runner.queue.append(job)
        self._begin(runner)

    def _begin(self, runner: Runner) -> None:
        """Give free slots to those who wait."""
        while runner is not self._loading and runner.queue and runner.free:
            job = runner.queue.popleft()
            job.slot, shared = _slot_for(runner.free, job.blocks)
            runner.free.remove(job.slot)
            job.began_at = self._now
            job.cached = min(shared * BLOCK_TOKENS, job.tokens - 1)
            job.unread = float(job.tokens - job.cached)
            runner.reading.append(job)

    def _has_read(self, runner: Runner, job: Job) -> None:
        job.first_at, job.unread = self._now, 0.0
        self._reports.append(Report(job, self._now))
        if job.output > 1 and not job.is_embedding:
            job.ends_at_step = runner.steps + job.output - 1
            runner.writing.append(job)
        else:
            self._finish(runner, job)

    def _finish(self, runner: Runner, job: Job) -> None:
        first_at = job.first_at if job.first_at is not None else self._now
        record = Record(
            load_s=job.joined_at - job.came_at,
            prompt_tokens=job.tokens,
            cached_tokens=job.cached,
            prompt_s=first_at - job.began_at,
            eval_tokens=0 if job.is_embedding else job.output,
            eval_s=self._now - first_at,
            total_s=self._now - job.came_at,
        )
        self._reports.append(Report(job, self._now, record))
        if job.slot is not None:
            self._give_back(runner, job.slot, job.whole or job.blocks)
        self._rest(runner)

    def _give_back(self, runner: Runner, slot: Slot, blocks: tuple[int, ...]) -> None:
        slot.blocks, slot.used_at = blocks, self._now
        runner.free.append(slot)
        self._begin(runner)

    def _rest(self, runner: Runner) -> None:
        if runner.is_idle and runner is not self._loading:
            if runner.is_leaving:
                self._unload(runner)
            else:
                runner.expires_at = self._now + runner.keep_alive_s

    # The loader

    def _load_next(self) -> None:
        """Go on with those that wait for a load, as far as possible now."""
        while self.pending and self._loading is None and self._draining is None:
            job = self.pending[0]
            runner = self.runners.get(job.model)
            if runner is not None and runner.context == job.context:
                self.pending.popleft()
                self._join(runner, job)
                continue
            victim = runner or self._victim(job)
            if victim is None:
                self.pending.popleft()
                self._load(job)
                return
            victim.is_leaving = True
            if victim.is_idle:
                del self.runners[victim.model.name]
            else:
                self._draining = victim

    def _victim(self, job: Job) -> Runner | None:
        """Who has to leave for this request; None: there is room."""
        if not self.runners:
            return None
        wanted = self.models[job.model].memory(job.context, self._slots(job))
        held = sum(runner.memory for runner in self.runners.values())
        if len(self.runners) < MAX_LOADED and held + wanted <= self.preset.memory:
            return None
        return min(
            self.runners.values(),
            key=lambda each: (not each.is_idle, each.keep_alive_s, each.model.name),
        )

    def _load(self, job: Job) -> None:
        model, slots = self.models[job.model], self._slots(job)
        took_s = START_S + model.size / self.preset.load_rate
        runner = Runner(
            model,
            job.context,
            self._now + took_s,
            model.memory(job.context, slots),
            [Slot() for _ in range(slots)],
            job.keep_alive_s,
        )
        runner.queue.append(job)
        self.runners[model.name] = self._loading = runner
        self.loads += 1

    def _loaded(self, runner: Runner) -> None:
        self._loading = None
        for job in runner.queue:
            job.joined_at = self._now
        self._begin(runner)
        self._rest(runner)
        self._load_next()

    def _unload(self, runner: Runner) -> None:
        del self.runners[runner.model.name]
        if runner is self._draining:
            self._draining = None
        self._load_next()

    def _slots(self, job: Job) -> int:
        return 1 if job.is_embedding else self.preset.slots


def _slot_for(free: list[Slot], blocks: tuple[int, ...]) -> tuple[Slot, int]:
    """The slot, and the blocks of the prompt that it holds."""
    if blocks:
        shared, slot = max(((common(slot.blocks, blocks), slot) for slot in free), key=_first)
        if shared / len(blocks) > LEAST_COMMON:
            return slot, shared
    slot = min(free, key=lambda each: each.used_at)
    return slot, common(slot.blocks, blocks)


def _first(pair: tuple[int, Slot]) -> int:
    return pair[0]
