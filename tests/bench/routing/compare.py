"""Real sockets: our proxy and the peers, each in front of the same simulated cluster, at once.

    choosing.py sockets [--quick] [--only NAME;NAME] [--scenarios S1,S3] [--count N] [--seed N]
        [--output FILE]

All contenders of a scenario run side by side, each with a cluster of its own, so that what the
machine does meanwhile happens to all. Ends with 0 when everything ran, 2 when nothing could.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import aiohttp
import provide
from routing import agreement
from routing.contenders import CONTENDERS, Place
from routing.load import Load, bodies_of
from routing.metrics import figures_of
from routing.scenarios import span_of
from routing.simulate import Trial, asked_of
from routing.suite import BY_NAME
from routing.table import shown
from stage import AbsentError, Cores, Process, Stage, signals_that_exit

from deploy.local import engine

if TYPE_CHECKING:
    from collections.abc import Sequence

    from peers import Target
    from routing.contenders import Contender
    from routing.load import Tally
    from routing.metrics import Figures
    from routing.rules import Asked
    from routing.scenarios import Incident, Scenario

ROOT: Final = Path(__file__).resolve().parents[3]
RESULTS: Final = ROOT / "tests/bench/results"
SCENARIOS: Final = ("S3", "S1", "S6", "H10")
COUNT: Final = 110
QUICK_COUNT: Final = 60
QUICK: Final = ("nginx least_conn", "aivonx predicted")
LEAD_S: Final = 1.0  # between the last start and the first request
THINK_S: Final = 5.0
LATE_S: Final = 0.1  # a timer that fires this late says that the machine was too busy


@dataclass
class Lane:
    """One contender with its cluster."""

    contender: Contender
    target: Target
    ports: dict[str, int]
    tally: Tally | None = None
    facts: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def loads(self) -> int:
        """Of models, at all nodes."""
        return sum(facts["loads"] for facts in self.facts.values())


@dataclass
class Outcome:
    """One scenario."""

    scenario: Scenario
    seed: int
    figures: dict[str, Figures] = field(default_factory=dict)
    simulated: dict[str, Figures] = field(default_factory=dict)
    faults: dict[str, list[str]] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)
    commands: dict[str, list[str]] = field(default_factory=dict)
    agreement: dict[str, float] = field(default_factory=dict)
    late_s: float = 0.0


def say(line: str) -> None:
    """Tell on standard error how far we are."""
    sys.stderr.write(f"bench-routing: {line}\n")
    sys.stderr.flush()


def compared(
    scenario: Scenario, contenders: Sequence[Contender], seed: int, count: int, workdir: Path
) -> Outcome:
    """Run one scenario with everybody, and the same in the simulator."""
    scenario = hurried(scenario)
    outcome = Outcome(scenario, seed)
    asked = asked_of(scenario, seed, count)
    stage = Stage(workdir, Cores.chosen())
    with ExitStack() as open_until_the_end:
        open_until_the_end.callback(stage.stop_all)
        lanes = []
        for contender in contenders:
            try:
                lanes.append(started(contender, scenario, (seed, count), stage, open_until_the_end))
            except AbsentError as absent:
                outcome.absent[contender.name] = str(absent)
                say(f"{contender.name}: absent: {absent}")
        span_s = span_of([each.request for each in asked])
        say(f"{scenario.name} ({scenario.title}): {len(asked)} requests in {span_s:.0f} s ...")
        wall_s = asyncio.run(driven(scenario, asked, lanes))
    for lane in lanes:
        note(outcome, lane, asked, wall_s)
    outcome.simulated = agreement.simulated(scenario, asked, contenders, seed)
    outcome.agreement = agreement.of(outcome.figures, outcome.simulated, contenders)
    return outcome


def hurried(scenario: Scenario) -> Scenario:
    """The same with shorter thoughts, so that sessions end in the minutes that there are."""
    streams = tuple(
        dataclasses.replace(stream, think_s=min(stream.think_s, THINK_S))
        for stream in scenario.streams
    )
    return dataclasses.replace(scenario, streams=streams)


def started(
    contender: Contender,
    scenario: Scenario,
    dice: tuple[int, int],
    stage: Stage,
    until_the_end: ExitStack,
) -> Lane:
    """A cluster, and the contender in front of it. AbsentError: it is not to be had."""
    name = contender.name.replace(" ", "-").replace("/", "").replace(",", "")
    workdir = stage.workdir / name
    workdir.mkdir()
    is_ours = name.startswith("aivonx")
    own = Stage(workdir, stage.cores, stage.processes)
    ports = nodes_of(own, scenario, dice, is_peer=not is_ours)
    redis_url = until_the_end.enter_context(engine.running(workdir / "valkey")) if is_ours else ""
    place = Place(own, workdir, tuple(ports.values()), redis_url, ROOT, scenario)
    return Lane(contender, contender.start(place), ports)


def nodes_of(
    stage: Stage, scenario: Scenario, dice: tuple[int, int], *, is_peer: bool
) -> dict[str, int]:
    """Start a cluster; its ports by node."""
    command = [
        sys.executable, "-m", "routing.nodes", scenario.name, *map(str, dice),
        *(["--peer"] if is_peer else []),
    ]  # fmt: skip
    paths = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests/bench")))
    process: Process = stage.start(
        "nodes",
        command,
        core=stage.cores.load,
        environment={"PYTHONPATH": paths},
        stdout=subprocess.PIPE,
    )
    line = process.popen.stdout.readline() if process.popen.stdout else b""
    if not line:
        raise AbsentError(f"the nodes do not start: {process.last_words()}")
    return dict(json.loads(line))


async def driven(scenario: Scenario, asked: list[Asked], lanes: list[Lane]) -> float:
    """Let the clients loose on all lanes at once; how long it took."""
    loop = asyncio.get_running_loop()
    bodies = {path: bodies_of(asked, path) for path in {lane.contender.path for lane in lanes}}
    began_at = loop.time() + LEAD_S
    span_s = span_of([each.request for each in asked])
    incidents = [
        asyncio.ensure_future(happen(incident, began_at, span_s, lanes))
        for incident in scenario.incidents
    ]
    loads = [Load(lane.target, lane.contender.path, asked, bodies) for lane in lanes]
    tallies = await asyncio.gather(*(load.run(began_at) for load in loads))
    await asyncio.gather(*incidents)
    wall_s = loop.time() - began_at
    async with aiohttp.ClientSession() as session:
        for lane, tally in zip(lanes, tallies, strict=True):
            lane.tally = tally
            for name, port in lane.ports.items():
                async with session.get(f"http://127.0.0.1:{port}/_/facts") as response:
                    lane.facts[name] = await response.json()
    return wall_s


async def happen(incident: Incident, began_at: float, span_s: float, lanes: list[Lane]) -> None:
    """A node becomes slower, in all clusters at once."""
    if incident.slower is None:
        raise ValueError("on sockets nodes only become slower: choose another scenario")
    loop = asyncio.get_running_loop()
    await asyncio.sleep(began_at + incident.at * span_s - loop.time())
    async with aiohttp.ClientSession() as session:
        for lane in lanes:
            url = f"http://127.0.0.1:{lane.ports[incident.node]}/_/fault"
            async with session.post(url, json={"slower": incident.slower}) as response:
                response.raise_for_status()


def note(outcome: Outcome, lane: Lane, asked: list[Asked], wall_s: float) -> None:
    """Put one lane into the report."""
    name, tally = lane.contender.name, lane.tally
    assert tally is not None
    cached = {int(n): tokens for f in lane.facts.values() for n, tokens in f["cached"].items()}
    for answer in tally.answers:
        answer.cached = cached.get(answer.asked.number, 0)
    span_s = span_of([each.request for each in asked])
    answers = sorted(tally.answers, key=lambda answer: answer.asked_at)
    outcome.figures[name] = figures_of(Trial(answers, lane.loads, [0.0], span_s, wall_s))
    outcome.faults[name] = tally.faults
    outcome.commands[name] = [str(word) for word in lane.target.process.popen.args]
    outcome.late_s = max(outcome.late_s, *(facts["late_s"] for facts in lane.facts.values()))


def main() -> int:
    """Run, print, keep."""
    options = arguments()
    contenders = [each for each in CONTENDERS if not options.names or each.name in options.names]
    outcomes = []
    with signals_that_exit():
        for name in options.scenarios.split(","):
            with tempfile.TemporaryDirectory(prefix="aivonx-routing-") as directory:
                began = time.monotonic()
                outcome = compared(
                    BY_NAME[name], contenders, options.seed, options.count, Path(directory)
                )
            say(f"{name}: {time.monotonic() - began:.0f} s")
            outcomes.append(outcome)
            sys.stdout.write(shown(outcome, late_s=LATE_S) + "\n\n")
            sys.stdout.flush()
    write(outcomes, options)
    return 0 if any(outcome.figures for outcome in outcomes) else 2


def arguments() -> argparse.Namespace:
    """Read what was asked for."""
    parser = argparse.ArgumentParser(description="How well we and every peer choose")
    parser.add_argument("--quick", action="store_true", help="ours and nginx, one scenario")
    parser.add_argument("--only", default="", help="these contenders, separated by semicolons")
    parser.add_argument("--scenarios", default="", help="these of suite.py")
    parser.add_argument("--count", type=int, default=0, help="requests of each scenario")
    parser.add_argument("--seed", type=int, default=11)
    parser.add_argument("--output", type=Path, help="where to write the result (JSON)")
    options = parser.parse_args()
    options.names = options.only.split(";") if options.only else (QUICK if options.quick else ())
    options.scenarios = options.scenarios or (
        SCENARIOS[0] if options.quick else ",".join(SCENARIOS)
    )
    options.count = options.count or (QUICK_COUNT if options.quick else COUNT)
    unknown = set(options.names) - {each.name for each in CONTENDERS}
    unknown |= set(options.scenarios.split(",")) - set(BY_NAME)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: there is no such contender or scenario")
    return options


def write(outcomes: list[Outcome], options: argparse.Namespace) -> None:
    """Keep the result; a partial one only where it was asked for."""
    now = datetime.now(tz=UTC)
    path = options.output
    if path is None:
        if options.only:
            return
        path = RESULTS / f"{now:%Y-%m-%d}-routing-sockets{'-quick' if options.quick else ''}.json"
    document = {
        "measured_at": now.isoformat(timespec="seconds"),
        "versions": provide.WHEELS,
        "seed": options.seed,
        "requests": options.count,
        "scenarios": [kept(outcome) for outcome in outcomes],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    say(f"written to {path}")


def kept(outcome: Outcome) -> dict[str, Any]:
    """One scenario as JSON has it: no digits that mean nothing, no paths of this machine."""

    def rounded(figures: dict[str, Figures]) -> dict[str, dict[str, float]]:
        return {
            name: {key: round(value, 3) for key, value in dataclasses.asdict(each).items()}
            for name, each in figures.items()
        }

    return {
        "name": outcome.scenario.name,
        "title": outcome.scenario.title,
        "sockets": rounded(outcome.figures),
        "simulator": rounded(outcome.simulated),
        "agreement": {name: round(rho, 3) for name, rho in outcome.agreement.items()},
        "faults": outcome.faults,
        "absent": outcome.absent,
        "commands": {
            name: [Path(word).name if word.startswith("/") else word for word in command]
            for name, command in outcome.commands.items()
        },
        "late_s": round(outcome.late_s, 3),
    }
