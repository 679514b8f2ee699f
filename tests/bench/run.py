"""`make bench`: ours and every peer on the same fleet, in one run, held against the budgets.

    run.py [--quick] [--only NAME,NAME] [--tree PATH] [--output FILE]

Ends with 0 when every budget was kept, 1 when one was broken, 2 when nothing could be measured.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import budgets
import peers
import provide
import scenarios
from figures import Figures, table
from outputs import Streams, UnreadableError
from peers import BASE, OURS, Ground, Target
from scenarios import Bench, Load
from stage import AbsentError, Cores, Process, Stage, signals_that_exit

from deploy.local import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
FLEET = 50  # nodes that every proxy chooses among
CHOOSING_FLEETS = (2, 10, 100, 1_000)
CHOOSING_WARM_S = 2  # until a thousand nodes have their connections
WANTED_FDS = 20_000  # 5,000 streams cost a proxy 10,000; some programs reserve memory for all
FULL = Load()
SLOW = Load(windows=1, streams=8, open_streams=50)
DIRECT = "the node itself"


@dataclass
class Outcome:
    """What a run found."""

    columns: list[Figures] = field(default_factory=list)
    direct: Streams | None = None
    choosing: dict[int, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)


@dataclass
class Run:
    """One run: the stage, the fleet, what was found."""

    bench: Bench
    stage: Stage
    node: Process
    ports: tuple[int, ...]
    redis_url: str
    tree: Path
    outcome: Outcome = field(default_factory=Outcome)

    @contextmanager
    def target(self, name: str, fleet: int = FLEET) -> Iterator[Target]:
        """One proxy for the length of a `with`."""
        ground = Ground(
            self.stage, self.bench.workdir, self.ports[:fleet], self.redis_url, self.tree
        )
        target = peers.STARTERS[name](ground)
        try:
            yield target
        finally:
            self.stage.stop(target.process)

    def measure_direct(self, load: Load) -> Streams:
        """The node without a proxy: what TTFT is counted from."""
        target = Target(self.node, self.ports[0])
        self.outcome.direct = scenarios.busy_streams(self.bench, target, load).seen
        return self.outcome.direct

    def measure(self, name: str, load: Load, direct: Streams, *, has_open: bool) -> None:
        """One column."""
        with self.target(name) as target:
            figures = scenarios.measured(self.bench, target, load, direct)
        if has_open:
            with self.target(name) as target:
                flow, count, each = scenarios.open_streams(self.bench, target, load)
            figures = dataclasses.replace(
                figures,
                open_streams=count,
                open_stream_bytes=each,
                open_cpu_per_chunk_us=flow.cpu_per_chunk_us,
                open_delay_p50_us=flow.seen.delay_p50,
                open_delay_p99_us=flow.seen.delay_p99,
                errors=figures.errors + flow.seen.errors,
            )
        if name == OURS:
            figures = dataclasses.replace(figures, **self.measure_deciding())
        self.outcome.columns.append(figures)

    def measure_deciding(self) -> dict[str, float]:
        """A choice by prediction alone, in a process of its own where the proxy ran."""
        core = [] if self.bench.cores.proxy is None else [str(self.bench.cores.proxy)]
        done = subprocess.run(
            [sys.executable, HERE / "deciding.py", *core],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
            check=True,
        )
        return json.loads(done.stdout)

    def measure_choosing(self) -> None:
        """Ours, on fleets of growing size."""
        if not provide.has("wrk"):
            return
        for fleet in CHOOSING_FLEETS:
            with self.target(OURS, fleet) as target:
                burst = scenarios.requests(
                    self.bench, target, windows=FULL.windows, seconds=1, warm_s=CHOOSING_WARM_S
                )
            self.outcome.choosing[fleet] = burst.cpu_us

    def attempt(self, name: str, step: Callable[[], None]) -> None:
        """Do a step; what cannot be had, started or loaded is named, and the run goes on."""
        began = time.monotonic()
        try:
            step()
        except (AbsentError, UnreadableError) as absent:
            self.outcome.absent[name] = str(absent).removeprefix(f"{name}: ")
            say(f"{name}: absent: {self.outcome.absent[name]}")
        else:
            say(f"{name}: measured in {time.monotonic() - began:.0f} s")


def say(line: str) -> None:
    """Tell on standard error how far we are: standard output is the table."""
    sys.stderr.write(f"bench: {line}\n")
    sys.stderr.flush()


def main() -> int:
    """Measure, print, keep, judge."""
    options = arguments()
    with signals_that_exit(), tempfile.TemporaryDirectory(prefix="aivonx-bench-") as directory:
        try:
            outcome = performed(options, Path(directory))
        except (AbsentError, engine.EngineError) as absent:
            say(f"nothing can be measured without {absent}")
            return 2
        except KeyboardInterrupt:
            return 130
    sys.stdout.write("\n" + table(outcome.columns, BASE) + "\n\n")
    if outcome.choosing:
        sys.stdout.write(f"{choosing_line(outcome.choosing)}\n\n")
    columns = {column.name: column for column in outcome.columns}
    verdicts = budgets.judge(budgets.load(HERE / "budgets.toml"), columns, OURS, outcome.choosing)
    for line in (*verdicts, *(f"absent      {n}: {why}" for n, why in outcome.absent.items())):
        sys.stdout.write(f"{line}\n")
    write(outcome, verdicts, options)
    return int(any(verdict.standing is budgets.Standing.BROKEN for verdict in verdicts))


def arguments() -> argparse.Namespace:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(description="CPU, delay and memory of ours and of every peer")
    parser.add_argument("--quick", action="store_true", help="ours and nginx, few measures")
    parser.add_argument("--only", default="", help="these proxies, separated by commas")
    parser.add_argument("--tree", type=Path, default=provide.ROOT, help="whose data plane to run")
    parser.add_argument("--output", type=Path, help="where to write the result (JSON)")
    options = parser.parse_args()
    options.tree = options.tree.resolve()
    options.names = options.only.split(",") if options.only else list(peers.STARTERS)
    if options.quick and not options.only:
        options.names = [BASE, OURS]
    unknown = set(options.names) - set(peers.STARTERS)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there is no such proxy")
    return options


def performed(options: argparse.Namespace, workdir: Path) -> Outcome:
    """The whole run, everything ended behind it."""
    provide.build(workdir)
    raise_fd_limit()
    cores = Cores.chosen()
    prepare(options.names)
    if cores.load is not None:
        os.sched_setaffinity(0, {cores.load})  # whatever is started and not pinned is load
    stage = Stage(workdir, cores)
    try:
        node, ports = fast_nodes(stage)
        with engine.running(workdir / "valkey") as redis_url:
            run = Run(Bench(workdir, cores, node.pid), stage, node, ports, redis_url, options.tree)
            measure_all(run, options)
    finally:
        stage.stop_all()
    return run.outcome


def prepare(names: list[str]) -> None:
    """Fetch everything first, so that nothing is installed beside a measurement."""
    for fetch, name in (
        *((provide.has, name) for name in provide.DEBIAN if name in {"wrk", *names}),
        *((provide.has_environment, name) for name in provide.WHEELS if name in names),
    ):
        fetch(name)


def fast_nodes(stage: Stage) -> tuple[Process, tuple[int, ...]]:
    """Start the fake node as many nodes; each one's port."""
    command = [str(stage.workdir / "fastnode"), str(max(CHOOSING_FLEETS))]
    node = stage.start(DIRECT, command, core=stage.cores.load, stdout=subprocess.PIPE)
    return node, tuple(map(int, node.popen.stdout.readline().split()[1:]))


def measure_all(run: Run, options: argparse.Namespace) -> None:
    """The node itself, each proxy, and what choosing costs."""
    if not provide.has("wrk"):
        run.outcome.absent["wrk"] = "no requests per second, no CPU per request or body"
    direct = run.measure_direct(FULL)
    for name in options.names:
        this_load = SLOW if name in peers.SLOW else FULL

        def step(name: str = name, this_load: Load = this_load) -> None:
            run.measure(name, this_load, direct, has_open=not options.quick)

        run.attempt(name, step)
    if not options.quick and OURS in options.names:
        run.attempt("choosing", run.measure_choosing)


def raise_fd_limit() -> None:
    """As many descriptors as 5,000 streams need, or as many as we may have."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED_FDS if hard == resource.RLIM_INFINITY else min(WANTED_FDS, hard)
    if soft == resource.RLIM_INFINITY or soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def choosing_line(costs: dict[int, float]) -> str:
    """CPU per request for each size of the fleet."""
    cells = ", ".join(f"{fleet:,} nodes {cost:.1f}" for fleet, cost in costs.items())
    return f"CPU µs/request of {OURS} by fleet: {cells}"


def write(outcome: Outcome, verdicts: list[budgets.Verdict], options: argparse.Namespace) -> None:
    """Keep the result; that of another tree only where it was asked for."""
    now = datetime.now(tz=UTC)
    path = options.output
    if path is None:
        if options.tree != provide.ROOT or options.only:
            return
        path = RESULTS / f"{now:%Y-%m-%d}{'-quick' if options.quick else ''}.json"
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "commit": commit_of(options.tree),
        "machine": {"cores": os.cpu_count(), "kernel": platform.release(), "pinned": is_pinned()},
        "versions": provide.WHEELS,
        "direct": rounded(outcome.direct),
        "proxies": [rounded(column) for column in outcome.columns],
        "choosing_cpu_per_request_us": {n: round(cost, 2) for n, cost in outcome.choosing.items()},
        "absent": outcome.absent,
        "budgets": [str(verdict) for verdict in verdicts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"written to {path}")


def rounded(record: Figures | Streams | None) -> dict[str, object]:
    """A record as JSON has it, without digits that mean nothing."""
    if record is None:
        return {}
    pairs = dataclasses.asdict(record).items()
    return {name: round(v, 2) if isinstance(v, float) else v for name, v in pairs if v is not None}


def commit_of(tree: Path) -> str:
    """The commit of the tree, with a mark when it was changed since; "" outside of git."""
    command = ["git", "-C", str(tree), "describe", "--always", "--dirty", "--exclude", "*"]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def is_pinned() -> bool:
    """Whether proxy and load had a core each."""
    return len(os.sched_getaffinity(0)) < (os.cpu_count() or 1)


if __name__ == "__main__":
    sys.exit(main())
