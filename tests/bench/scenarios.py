"""The loads, and what is read off each: from the tool's output and from /proc.

Each load is measured in several windows, on some proxies in several rounds. Of requests the
cheapest window counts: whatever else runs on the machine can only make a proxy dearer. Of streams
it is the window in the middle, of CPU as of delays: a chunk is mostly a wake-up, whose cost goes up
and down by a third within seconds, so that the cheapest of a few compares who was luckier.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import time
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

import outputs
import provide
import usage
from figures import Figures

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from outputs import Requests, Streams
    from pace import Pace
    from peers import Target
    from stage import Cores

CONNECTIONS = 32
BODY_CONNECTIONS = 8
BODY_BYTES = 600_000  # the Base64 of a photograph as a client scales it down
WARM_S = 1  # connections to every node of the fleet are open, code is warm
SETTLE_S = 0.3  # the last answers are accounted before the next load begins
CHUNKS = 200
CHUNK_INTERVAL_US = 20_000  # 50 tokens a second
OPEN_INTERVAL_US = 1_000_000
FOREVER = 1_000_000  # chunks of a stream that is to stay open
FD_RESERVE = 1_000  # of a process: listeners of the fake node, pools, logs
_MEASURING, _MEASURED = "measuring\n", "measured\n"


@dataclass(frozen=True)
class Load:
    """How much, and for how long. Seconds are those of one window."""

    windows: int = 3
    request_s: int = 2  # none: neither they nor bodies are measured
    body_s: int = 1
    stream_s: float = 2.0
    streams: int = 200  # none: they are not measured
    open_streams: int = 5_000  # none: they are not measured
    open_ramp_s: float = 5.001  # not a multiple of the interval: see busy_streams
    open_s: float = 2.0


@dataclass(frozen=True)
class Bench:
    """What a load needs to be run and measured."""

    workdir: Path
    cores: Cores
    node_pid: int


@dataclass(frozen=True)
class Burst:
    """What requests cost: the cheapest window, and the errors of all."""

    cpu_us: float
    per_s: float
    load_busy: float
    errors: int


def requests(
    bench: Bench,
    target: Target,
    *,
    windows: int,
    seconds: int,
    image_bytes: int = 0,
    warm_s: int = WARM_S,
) -> Burst:
    """Non-streaming chats, as fast as they are answered."""
    warming = _wrk(target, warm_s, image_bytes)
    measured = [_window(bench, target, seconds, image_bytes) for _ in range(windows)]
    cheapest = _cheapest(measured)
    return replace(cheapest, errors=warming.errors + cheapest.errors)


def _window(bench: Bench, target: Target, seconds: int, image_bytes: int) -> Burst:
    time.sleep(SETTLE_S)
    before, load_before, began = usage.cpu_us(target.process.pid), _load_us(bench), time.monotonic()
    seen = _wrk(target, seconds, image_bytes)
    busy = (_load_us(bench) - load_before) / ((time.monotonic() - began) * 1e6)
    time.sleep(SETTLE_S)
    cpu = usage.cpu_us(target.process.pid) - before
    return Burst(cpu / max(seen.count, 1), seen.per_s, busy, seen.errors)


def _wrk(target: Target, seconds: int, image_bytes: int) -> Requests:
    connections = BODY_CONNECTIONS if image_bytes else CONNECTIONS
    command = [
        provide.program("wrk"), "-t1", f"-c{connections}", f"-d{seconds}s",
        "-s", str(provide.TOOLS / "chat.lua"), f"http://127.0.0.1:{target.port}{target.path}",
    ]  # fmt: skip
    environment = {**_environment(target), "IMAGE_BYTES": str(image_bytes)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return outputs.requests(done.stdout + done.stderr)


@dataclass(frozen=True)
class Flow:
    """What a load of streams did to a process."""

    windows: list[Streams]
    cpu_us: list[float]  # of each window
    rss_bytes: int

    @property
    def seen(self) -> Streams:
        """All windows as one."""
        return outputs.middle(self.windows)

    @property
    def cpu_per_chunk_us(self) -> float | None:
        """The middle window's; None when not one chunk came."""
        pairs = zip(self.cpu_us, self.windows, strict=True)
        costs = [cpu / each.chunks for cpu, each in pairs if each.chunks]
        return statistics.median(costs) if costs else None


def streams(
    bench: Bench,
    target: Target,
    *,
    count: int,
    pace: tuple[int, int],
    seconds: tuple[float, ...],
    windows: int,
) -> Flow:
    """Hold `count` streams of `pace` (chunks, µs between) for `seconds` (ramp, settle, window)."""
    command = [
        str(bench.workdir / "streamload"), str(target.port), target.path, str(count),
        *map(str, pace), *(str(int(part * 1000)) for part in seconds), str(windows),
    ]  # fmt: skip
    with subprocess.Popen(
        command,
        env=_environment(target),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _expect(process, _MEASURING)
            readings = [usage.cpu_us(target.process.pid)]
            for _ in range(windows):
                _expect(process, _MEASURED)
                readings.append(usage.cpu_us(target.process.pid))
            rss = usage.rss_bytes(target.process.pid)  # all streams are still open
            said, _ = process.communicate("\n")
        except BaseException:
            process.kill()
            raise
    cpu = [after - before for before, after in pairwise(readings)]
    return Flow(outputs.streams(said), cpu, rss)


def _expect(process: subprocess.Popen[str], line: str) -> None:
    """The tool's next word; the rest of what it says goes into the error."""
    if process.stdout.readline() != line:
        raise outputs.UnreadableError(f"streamload failed: {process.stderr.read()[:300]!r}")


def busy_streams(bench: Bench, target: Target, load: Load) -> Flow:
    """Streams at 50 tokens a second, begun evenly, so that some begin and end at any time.

    One interval longer than a stream: else each begins a whole number of intervals after the one
    before, all chunks come at the same moments, and nothing but the queue is measured. And then so
    long again, until each client's first answer has ended: it was asked for while connections to
    the nodes were still being made.
    """
    ramp = (CHUNKS + 1) * CHUNK_INTERVAL_US / 1e6
    return streams(
        bench,
        target,
        count=load.streams,
        pace=(CHUNKS, CHUNK_INTERVAL_US),
        seconds=(ramp, ramp + SETTLE_S, load.stream_s),
        windows=load.windows,
    )


def open_streams(bench: Bench, target: Target, load: Load) -> tuple[Flow, int, float]:
    """Many slow streams on a fresh process: the flow, how many, and bytes of memory for each."""
    count = min(load.open_streams, most_streams())
    streams(bench, target, count=20, pace=(10, 10_000), seconds=(0.1, 0.1, 0.3), windows=1)
    before = usage.rss_bytes(target.process.pid)
    flow = streams(
        bench,
        target,
        count=count,
        pace=(FOREVER, OPEN_INTERVAL_US),
        seconds=(load.open_ramp_s, OPEN_INTERVAL_US / 1e6, load.open_s),
        windows=load.windows,
    )
    return flow, count, (flow.rss_bytes - before) / count


def most_streams() -> int:
    """As many as a proxy can hold here: two descriptors each."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (limit - FD_RESERVE) // 2


@dataclass(frozen=True)
class Round:
    """The loads on one proxy, once. None: not in this round, or wrk is absent."""

    path: str
    small: Burst | None = None
    body: Burst | None = None
    busy: Flow | None = None
    open: tuple[Flow, int, float] | None = None
    paces: tuple[Pace, ...] = ()
    stolen_percent: float = 0.0

    @property
    def errors(self) -> dict[str, int]:
        """How many in each load that was measured."""
        seen = {
            "requests": self.small,
            "bodies": self.body,
            "streams": self.busy and self.busy.seen,
            "open streams": self.open and self.open[0].seen,
        }
        return {load: each.errors for load, each in seen.items() if each is not None}


def measured(bench: Bench, target: Target, load: Load) -> Round:
    """One round on one process; its `open` comes from another, fresh one."""
    small = body = None
    if load.request_s and provide.has("wrk"):
        small = requests(bench, target, windows=load.windows, seconds=load.request_s)
        body = requests(
            bench, target, windows=load.windows, seconds=load.body_s, image_bytes=BODY_BYTES
        )
    busy = busy_streams(bench, target, load) if load.streams else None
    return Round(target.path, small, body, busy)


def summed_up(name: str, rounds: Sequence[Round], direct: Streams) -> Figures:
    """The figures of one proxy: the windows of all its rounds are as good as those of one."""
    small = _cheapest([each.small for each in rounds if each.small is not None])
    body = _cheapest([each.body for each in rounds if each.body is not None])
    flow = joined([each.busy for each in rounds if each.busy is not None])
    opened = [each.open for each in rounds if each.open is not None]
    open_flow = joined([each for each, _, _ in opened])
    seen, seen_open = flow.seen, open_flow.seen
    return Figures(
        name=name,
        path=rounds[0].path,
        cpu_per_request_us=small and small.cpu_us,
        requests_per_s=small and small.per_s,
        load_busy=small and small.load_busy,
        cpu_per_body_us=body and body.cpu_us,
        cpu_per_chunk_us=flow.cpu_per_chunk_us,
        chunk_delay_p50_us=seen.delay_p50,
        chunk_delay_p99_us=seen.delay_p99,
        ttft_added_p50_us=_added(seen.ttft_p50, direct.ttft_p50),
        ttft_added_p99_us=_added(seen.ttft_p99, direct.ttft_p99),
        open_streams=min((count for _, count, _ in opened), default=None),
        open_stream_bytes=max((each for _, _, each in opened), default=None),
        open_cpu_per_chunk_us=open_flow.cpu_per_chunk_us,
        open_delay_p50_us=seen_open.delay_p50,
        open_delay_p99_us=seen_open.delay_p99,
        stolen_percent=max(each.stolen_percent for each in rounds),
        errors=sum(sum(each.errors.values()) for each in rounds),
    )


def joined(flows: Sequence[Flow]) -> Flow:
    """Several flows as one."""
    return Flow(
        windows=[window for flow in flows for window in flow.windows],
        cpu_us=[cpu for flow in flows for cpu in flow.cpu_us],
        rss_bytes=max((flow.rss_bytes for flow in flows), default=0),
    )


def _cheapest(bursts: Sequence[Burst]) -> Burst | None:
    """The window that counts, and the errors of all."""
    if not bursts:
        return None
    cheapest = min(bursts, key=lambda burst: burst.cpu_us)
    return Burst(
        cpu_us=cheapest.cpu_us,
        per_s=max(burst.per_s for burst in bursts),
        load_busy=cheapest.load_busy,
        errors=sum(burst.errors for burst in bursts),
    )


def _added(through: float | None, direct: float | None) -> float | None:
    return None if through is None or direct is None else through - direct


def _load_us(bench: Bench) -> float:
    """CPU of the node and of the load tools that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.cpu_us(bench.node_pid) + (ended.ru_utime + ended.ru_stime) * 1e6


def _environment(target: Target) -> Mapping[str, str]:
    return {**os.environ, **provide.libraries(), "KEY": target.key}
