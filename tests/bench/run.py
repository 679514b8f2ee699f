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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import budgets
import pace
import peers
import provide
import scenarios
from figures import table
from outputs import UnreadableError
from peers import BASE, OURS, Ground, Target
from scenarios import Bench, Load
from stage import AbsentError, Cores, Process, Stage, signals_that_exit

from data_plane import native
from deploy.local import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from figures import Figures
    from outputs import Streams
    from scenarios import Flow, Round

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RESULTS = HERE / "results"
FLEET = 50  # nodes that every proxy chooses among
CHOOSING_FLEETS = (2, 10, 100, 1_000)
CHOOSING_WARM_S = 2  # until a thousand nodes have their connections
WANTED_FDS = 20_000  # 5,000 streams cost a proxy 10,000; some programs reserve memory for all
FULL = Load()
SLOW = Load(windows=1, streams=8, open_streams=50)
ROUNDS = 3
"""Of ours and of what it is judged by, in turn: a machine that others share is another one a minute
later, and a ratio of two minutes says more of them than of the proxies."""
ROUND = Load(windows=2, streams=0)
TURNS = 2
"""Of streams in each round, seconds apart: of all loads they depend most on the moment."""
TURN = Load(windows=2, stream_s=1.5, request_s=0, open_streams=0)
LONG_TURN = dataclasses.replace(TURN, windows=TURNS * TURN.windows)
"""All of them at once, for a run that has no time to begin streams twice."""
JUDGED = (BASE, OURS)
DIRECT = "the node itself"


@dataclass
class Outcome:
    """What a run found."""

    direct: list[Flow] = field(default_factory=list)
    rounds: dict[str, list[Round]] = field(default_factory=dict)
    deciding: dict[str, float] = field(default_factory=dict)
    choosing: dict[int, float] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    @property
    def seen_direct(self) -> Streams:
        """The node without a proxy: what TTFT is counted from."""
        return scenarios.joined(self.direct).seen

    def columns(self) -> list[Figures]:
        """What is known of each proxy."""
        paces = {
            name: [look for each in rounds for look in each.paces]
            for name, rounds in self.rounds.items()
        }
        best_us = min((look.best_us for looks in paces.values() for look in looks), default=1.0)
        return [
            dataclasses.replace(
                scenarios.summed_up(name, rounds, self.seen_direct),
                core_slowness=pace.slowness(paces[name], best_us),
                **(self.deciding if name == OURS else {}),
            )
            for name, rounds in self.rounds.items()
        ]


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

    def measure_direct(self, load: Load) -> None:
        """The node without a proxy."""
        target = Target(self.node, self.ports[0])
        self.outcome.direct.append(scenarios.busy_streams(self.bench, target, load))

    def measure(self, name: str, load: Load) -> None:
        """One round of one proxy."""
        paces = [pace.look(self.bench.cores)]
        before = pace.ticks(self.bench.cores)
        with self.target(name) as target:
            this = scenarios.measured(self.bench, target, load)
        paces.append(pace.look(self.bench.cores))
        if load.open_streams:
            with self.target(name) as target:
                opened = scenarios.open_streams(self.bench, target, load)
            this = dataclasses.replace(this, open=opened)
            paces.append(pace.look(self.bench.cores))
        stolen = pace.stolen_percent(before, pace.ticks(self.bench.cores))
        this = dataclasses.replace(this, paces=tuple(paces), stolen_percent=stolen)
        self.outcome.rounds.setdefault(name, []).append(this)
        for load_name, count in this.errors.items():
            if count:
                say(f"{name}: {count} errors of {load_name}, {stolen:.1f} % stolen by the host")

    def measure_deciding(self) -> None:
        """A choice by prediction alone, in a process of its own where the proxy ran."""
        core = [] if self.bench.cores.proxy is None else [str(self.bench.cores.proxy)]
        done = subprocess.run(
            [sys.executable, HERE / "deciding.py", *core],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"},
            stdout=subprocess.PIPE,
            check=True,
        )
        for measure, cost in json.loads(done.stdout).items():
            self.outcome.deciding[measure] = min(cost, self.outcome.deciding.get(measure, cost))

    def measure_choosing(self) -> None:
        """Ours, on fleets of growing size."""
        if not provide.has("wrk"):
            return
        costs = self.outcome.choosing
        for fleet in CHOOSING_FLEETS:
            with self.target(OURS, fleet) as target:
                burst = scenarios.requests(
                    self.bench, target, windows=ROUND.windows, seconds=1, warm_s=CHOOSING_WARM_S
                )
            costs[fleet] = min(burst.cpu_us, costs.get(fleet, burst.cpu_us))

    def attempt(self, name: str, step: Callable[[], None]) -> None:
        """Do a step; what cannot be had, started or loaded is named, and left out from then on."""
        if name in self.outcome.absent:
            return
        began = time.monotonic()
        try:
            step()
        except (AbsentError, UnreadableError) as absent:
            self.outcome.absent[name] = str(absent).removeprefix(f"{name}: ")
            self.outcome.rounds.pop(name, None)
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
    figures = outcome.columns()
    columns = {column.name: column for column in figures}
    sys.stdout.write("\n" + table(figures, BASE) + "\n\n")
    if OURS in columns and not native.place(options.tree).is_dir():
        sys.stdout.write(f"({OURS} was not compiled: a request costs a third more)\n\n")
    if outcome.choosing:
        sys.stdout.write(f"{choosing_line(outcome.choosing)}\n\n")
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
    if OURS in options.names:
        compile_ours(options.tree)
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


def compile_ours(tree: Path) -> None:
    """Have the data plane of a tree compiled, as `make run` would; one that cannot be says why."""
    if (tree / "deploy/local/native.py").is_file():
        environ = {**os.environ, "PYTHONPATH": str(tree)}
        subprocess.run(
            [sys.executable, "-m", "deploy.local.native"], cwd=tree, env=environ, check=False
        )


def fast_nodes(stage: Stage) -> tuple[Process, tuple[int, ...]]:
    """Start the fake node as many nodes; each one's port."""
    command = [str(stage.workdir / "fastnode"), str(max(CHOOSING_FLEETS))]
    node = stage.start(DIRECT, command, core=stage.cores.load, stdout=subprocess.PIPE)
    return node, tuple(map(int, node.popen.stdout.readline().split()[1:]))


def measure_all(run: Run, options: argparse.Namespace) -> None:
    """The node itself, each proxy, and what choosing costs."""
    if not provide.has("wrk"):
        run.outcome.absent["wrk"] = "no requests per second, no CPU per request or body"
    for number in range(1 if options.quick else ROUNDS):
        run.measure_direct(TURN)
        for name in options.names:
            if number == 0 or name in JUDGED:
                run.attempt(name, partial(run.measure, name, load_of(name, options)))
        for turn in (LONG_TURN,) if options.quick else (TURN,) * TURNS:
            for name in (name for name in options.names if name in JUDGED):
                run.attempt(name, partial(run.measure, name, turn))
        if OURS in run.outcome.rounds:
            run.measure_deciding()
            if not options.quick:
                run.attempt("choosing", run.measure_choosing)


def load_of(name: str, options: argparse.Namespace) -> Load:
    """What a proxy is measured with in one round."""
    if options.quick:
        load = SLOW if name in peers.SLOW else ROUND if name in JUDGED else FULL
        return dataclasses.replace(load, open_streams=0)
    return SLOW if name in peers.SLOW else ROUND if name in JUDGED else FULL


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
        "machine": {
            "processor": pace.processor(),
            "cores": os.cpu_count(),
            "kernel": platform.release(),
            "pinned": is_pinned(),
        },
        "native": native.place(options.tree).is_dir(),
        "versions": provide.WHEELS,
        "direct": rounded(outcome.seen_direct),
        "proxies": [rounded(column) for column in outcome.columns()],
        "choosing_cpu_per_request_us": {n: round(cost, 2) for n, cost in outcome.choosing.items()},
        "absent": outcome.absent,
        "budgets": [str(verdict) for verdict in verdicts],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    say(f"written to {path}")


def rounded(record: Figures | Streams) -> dict[str, object]:
    """A record as JSON has it, without digits that mean nothing."""
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
