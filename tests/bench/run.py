"""`make bench`: CPU time per request and per chunk, ours and nginx's, in one run."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import stage
from stage import AbsentError, Stage

from deploy.local import engine

RESULTS = Path(__file__).parent / "results"
TICK_US = 1_000_000 / os.sysconf("SC_CLK_TCK")
CONNECTIONS = 32


@dataclass
class Figures:
    """What was measured of one proxy. CPU in microseconds, delays in microseconds."""

    name: str
    cpu_per_request: float
    cpu_per_chunk: float
    requests_per_s: float
    chunk_delay_p50: float
    chunk_delay_p99: float
    ttfb_p50: float
    errors: int


def cpu_ticks(pid: int) -> int:
    """User and system ticks of a process and of its children."""
    total = 0
    children = subprocess.run(
        ["pgrep", "-P", str(pid)], capture_output=True, text=True, check=False
    )
    for each in (str(pid), *children.stdout.split()):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total


def measure(
    name: str, pid: int, port: int, key: str, workdir: Path, *, seconds: int, streams: int
) -> Figures:
    """Load one proxy with small requests, then with streams."""
    environment = {**os.environ, "KEY": key}
    url = f"http://127.0.0.1:{port}/api/chat"
    wrk = [stage.tool("wrk"), "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s",
           str(stage.TOOLS / "chat.lua"), url]  # fmt: skip
    load = [str(workdir / "streamload"), str(port), "/api/chat", str(streams), str(seconds), "m"]
    pin = [stage.tool("taskset"), "-c", str(stage.LOAD_CORE)] if (os.cpu_count() or 1) > 1 else []

    def cost(command: list[str]) -> tuple[str, float]:
        before = cpu_ticks(pid)
        done = subprocess.run(
            [*pin, *command], env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout, (cpu_ticks(pid) - before) * TICK_US

    requests, request_cost = cost(wrk)
    count = number(r"(\d+) requests in", requests)
    refused = number(r"Non-2xx or 3xx responses: (\d+)", requests, 0)
    time.sleep(1)  # the last answers of wrk's connections are accounted before the next part begins
    chunks, chunk_cost = cost(load)
    per_second = number(r"chunks/s (\d+)", chunks)
    return Figures(
        name=name,
        cpu_per_request=request_cost / count,
        cpu_per_chunk=chunk_cost / (per_second * seconds),
        requests_per_s=number(r"Requests/sec:\s+([\d.]+)", requests),
        chunk_delay_p50=number(r"delay_us p50 (-?\d+)", chunks),
        chunk_delay_p99=number(r"delay_us p50 -?\d+ p99 (-?\d+)", chunks),
        ttfb_p50=number(r"ttfb_us p50 (-?\d+)", chunks),
        errors=int(refused + number(r"errors (\d+)", chunks)),
    )


def number(pattern: str, text: str, default: float | None = None) -> float:
    """The number that a tool printed."""
    match = re.search(pattern, text)
    if match is not None:
        return float(match[1])
    if default is None:
        msg = f"a load tool did not print {pattern!r}: {text[:500]}"
        raise ValueError(msg)
    return default


def report(rows: list[Figures]) -> str:
    """The table, each cost also as a ratio to nginx's when nginx was there."""
    base = next((row for row in rows if row.name == "nginx"), None)
    lines = [
        (
            f"{'':12}{'CPU µs/request':>18}{'CPU µs/chunk':>18}{'req/s':>9}"
            f"{'delay p50/p99 µs':>20}{'TTFB p50 µs':>13}{'errors':>8}"
        )
    ]
    for row in rows:
        request, chunk = f"{row.cpu_per_request:.1f}", f"{row.cpu_per_chunk:.1f}"
        if base is not None:
            request += f" ({row.cpu_per_request / base.cpu_per_request:.1f}x)"
            chunk += f" ({row.cpu_per_chunk / base.cpu_per_chunk:.1f}x)"
        delay = f"{row.chunk_delay_p50:.0f}/{row.chunk_delay_p99:.0f}"
        lines.append(
            f"{row.name:12}{request:>18}{chunk:>18}{row.requests_per_s:>9.0f}"
            f"{delay:>20}{row.ttfb_p50:>13.0f}{row.errors:>8}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, keep."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=6, help="of each load")
    parser.add_argument("--streams", type=int, default=200, help="streams at once")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aivonx-bench-") as directory:
        try:
            rows = run(Path(directory), options.seconds, options.streams)
        except AbsentError as absent:
            sys.stderr.write(f"make bench needs {absent}, which this machine does not have.\n")
            return 1
    sys.stdout.write(report(rows) + "\n")
    RESULTS.mkdir(exist_ok=True)
    result = RESULTS / f"{datetime.now(tz=UTC):%Y-%m-%d}.json"
    result.write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    return 1 if any(row.errors for row in rows) else 0


def run(workdir: Path, seconds: int, streams: int) -> list[Figures]:
    """Each proxy in turn, on the same node."""
    stage.build_tools(workdir)
    rows = []
    parts = Stage(workdir)
    try:
        node_port = stage.fast_node(parts)
        try:
            process, port = stage.nginx(parts, node_port)
        except AbsentError as absent:
            sys.stdout.write(f"{absent}: absent\n")
        else:
            rows.append(
                measure(
                    "nginx", process.pid, port, "none", workdir, seconds=seconds, streams=streams
                )
            )
            process.terminate()
        with engine.running(workdir / "valkey") as redis_url:
            process, port, key = stage.data_plane(parts, node_port, redis_url)
            rows.append(
                measure(
                    "data plane", process.pid, port, key, workdir, seconds=seconds, streams=streams
                )
            )
    finally:
        parts.stop()
    return rows


if __name__ == "__main__":
    sys.exit(main())
