"""The loads, and what is read off each: from the tool's output and from /proc."""

from __future__ import annotations

import os
import resource
import subprocess
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import outputs
import provide
import usage
from figures import Figures
from stage import Cores

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from outputs import Requests, Streams
    from peers import Target

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


@dataclass(frozen=True)
class Load:
    """How long and how much."""

    request_s: int = 4
    stream_s: int = 6
    streams: int = 200
    open_streams: int = 5_000
    open_ramp_s: float = 5.001  # not a multiple of the interval: see busy_streams
    open_s: int = 5


@dataclass(frozen=True)
class Bench:
    """What a load needs to be run and measured."""

    workdir: Path
    cores: Cores
    node_pid: int


def requests(
    bench: Bench, target: Target, seconds: int, image_bytes: int = 0
) -> tuple[Requests, float, float]:
    """Non-streaming chats: what wrk saw, CPU µs per request, the share of the load core in use."""
    connections = BODY_CONNECTIONS if image_bytes else CONNECTIONS

    def wrk(duration: int) -> str:
        command = [
            provide.program("wrk"), "-t1", f"-c{connections}", f"-d{duration}s",
            "-s", str(provide.TOOLS / "chat.lua"), f"http://127.0.0.1:{target.port}{target.path}",
        ]  # fmt: skip
        environment = {**_environment(target), "IMAGE_BYTES": str(image_bytes)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    wrk(WARM_S)
    time.sleep(SETTLE_S)
    before, load_before, began = usage.cpu_us(target.process.pid), _load_us(bench), time.monotonic()
    seen = outputs.requests(wrk(seconds))
    elapsed_us = (time.monotonic() - began) * 1e6
    busy = (_load_us(bench) - load_before) / elapsed_us
    time.sleep(SETTLE_S)
    cpu = usage.cpu_us(target.process.pid) - before
    return seen, cpu / max(seen.count, 1), busy


@dataclass(frozen=True)
class Flow:
    """What a load of streams did to a process."""

    seen: Streams
    cpu_us: float
    rss_bytes: int

    @property
    def cpu_per_chunk_us(self) -> float | None:
        """None when not one chunk came."""
        return self.cpu_us / self.seen.chunks if self.seen.chunks else None


def streams(
    bench: Bench, target: Target, *, count: int, pace: tuple[int, int], seconds: tuple[float, ...]
) -> Flow:
    """Hold `count` streams of `pace` (chunks, µs between) for `seconds` (ramp, settle, measure)."""
    command = [
        str(bench.workdir / "streamload"), str(target.port), target.path, str(count),
        *map(str, pace), *(str(int(part * 1000)) for part in seconds),
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
            process.stdout.readline()  # measuring
            before = usage.cpu_us(target.process.pid)
            process.stdout.readline()  # measured: all streams are still open
            cpu = usage.cpu_us(target.process.pid) - before
            rss = usage.rss_bytes(target.process.pid)
            said, complaints = process.communicate("\n")
        except BaseException:
            process.kill()
            raise
    return Flow(outputs.streams(said + complaints), cpu, rss)


def busy_streams(bench: Bench, target: Target, load: Load) -> Flow:
    """Streams at 50 tokens a second, begun evenly, so that some begin and end at any time.

    One interval longer than a stream: else each begins a whole number of intervals after the one
    before, all chunks come at the same moments, and nothing but the queue is measured.
    """
    ramp = (CHUNKS + 1) * CHUNK_INTERVAL_US / 1e6
    return streams(
        bench,
        target,
        count=load.streams,
        pace=(CHUNKS, CHUNK_INTERVAL_US),
        seconds=(ramp, SETTLE_S, load.stream_s),
    )


def open_streams(bench: Bench, target: Target, load: Load) -> tuple[Flow, int, float]:
    """Many slow streams on a fresh process: the flow, how many, and bytes of memory for each."""
    count = min(load.open_streams, most_streams())
    streams(bench, target, count=20, pace=(10, 10_000), seconds=(0.1, 0.1, 0.3))
    before = usage.rss_bytes(target.process.pid)
    flow = streams(
        bench,
        target,
        count=count,
        pace=(FOREVER, OPEN_INTERVAL_US),
        seconds=(load.open_ramp_s, OPEN_INTERVAL_US / 1e6, load.open_s),
    )
    return flow, count, (flow.rss_bytes - before) / count


def most_streams() -> int:
    """As many as a proxy can hold here: two descriptors each."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return (limit - FD_RESERVE) // 2


def measured(bench: Bench, target: Target, load: Load, direct: Streams) -> Figures:
    """The figures of one process; those of `open_streams` come from another, fresh one."""
    figures: dict[str, float | None] = {}
    errors = 0
    if provide.has("wrk"):
        seen, cpu, busy = requests(bench, target, load.request_s)
        figures |= {"cpu_per_request_us": cpu, "requests_per_s": seen.per_s, "load_busy": busy}
        body, body_cpu, _ = requests(bench, target, load.request_s, BODY_BYTES)
        figures["cpu_per_body_us"] = body_cpu if body.count else None
        errors = seen.errors + body.errors
    flow = busy_streams(bench, target, load)
    return Figures(
        name=target.process.name,
        path=target.path,
        **figures,
        cpu_per_chunk_us=flow.cpu_per_chunk_us,
        chunk_delay_p50_us=flow.seen.delay_p50,
        chunk_delay_p99_us=flow.seen.delay_p99,
        ttft_added_p50_us=_added(flow.seen.ttft_p50, direct.ttft_p50),
        ttft_added_p99_us=_added(flow.seen.ttft_p99, direct.ttft_p99),
        errors=errors + flow.seen.errors,
    )


def _added(through: float | None, direct: float | None) -> float | None:
    return None if through is None or direct is None else through - direct


def _load_us(bench: Bench) -> float:
    """CPU of the node and of the load tools that have ended."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.cpu_us(bench.node_pid) + (ended.ru_utime + ended.ru_stime) * 1e6


def _environment(target: Target) -> Mapping[str, str]:
    return {**os.environ, **provide.libraries(), "KEY": target.key}
