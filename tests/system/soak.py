"""`make soak`: the whole system under a mixture of requests and accidents, and what it came to.

    make soak                                  # 5 minutes
    make soak SOAK_S=1800                      # as long as you like
    make soak SOAK_CLIENTS=2                   # gently

Clients ask at random (fakes/mix.py): one group of them a data plane that nothing is done to,
another one of several workers that are killed and restarted. Meanwhile the config changes every
5 s, and every 20 s the nemesis (fakes/nemesis.py) does the next of its accidents and repairs it. At
the end the history is checked (fakes/history.py), and what is still held. The figures are printed;
any broken promise makes the exit code 1.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes import history  # noqa: E402 - found only now
from fakes.database import open_database  # noqa: E402
from fakes.mix import AT_ONCE, Mix  # noqa: E402
from fakes.nemesis import Nemesis  # noqa: E402
from fakes.plane import MODEL, DataPlane  # noqa: E402
from fakes.processes import eventually  # noqa: E402
from fakes.stack import RECOVER_S, Stack  # noqa: E402

CHANGE_EVERY_S: Final = 5.0
ACCIDENT_EVERY_S: Final = 20.0
SETTLE_S: Final = 10.0
IDLE_S: Final = 75.0
"""For idle connections to be closed, which are kept for 30 s on either side."""

SEED: Final = 20_261_123
GROWTH: Final = 0.02
"""Of the peak of the last third over that of the second; the first is for warming up."""

MAX_SHOWN: Final = 5
SPARE_FDS: Final = 5
MAX_LOG_BYTES: Final = 2_000
"""Per request, everything that a data plane logs together."""

BAD_WORDS: Final = (b"Task was destroyed", b"Unclosed", b"never retrieved", b"ResourceWarning")
UNHURRIED: Final = {"probe_interval_s": 1.0, "probe_timeout_s": 1.0, "connect_timeout_s": 1.0}
"""A busy machine must not look like a dead node."""


class Watch:
    """What is measured while it runs: memory by thirds, applied revisions."""

    def __init__(self, plane: DataPlane, duration_s: float) -> None:
        self._plane = plane
        self._duration_s = duration_s
        self.began_at = time.monotonic()
        self.peaks = [0, 0, 0]
        self.applied = plane.applied()
        self.first_revision = self.applied[1]
        self.backwards: list[str] = []

    def look(self) -> float:
        """Take the next sample; the seconds that have passed."""
        passed_s = time.monotonic() - self.began_at
        third = min(int(3 * passed_s / self._duration_s), 2)
        self.peaks[third] = max(self.peaks[third], own_bytes(self._plane.process.pid))
        applied = self._plane.applied()
        if applied[0] != self.applied[0] or applied[1] < self.applied[1]:
            self.backwards.append(f"applied {applied} after {self.applied}")
        self.applied = applied
        return passed_s

    def faults(self) -> list[str]:
        """What was broken."""
        found = list(self.backwards)
        if self.peaks[2] > self.peaks[1] * (1 + GROWTH):
            found.append(f"memory grew by more than {GROWTH:.0%}: {self.peaks}")
        if self.applied[1] <= self.first_revision:
            found.append("no change was applied")
        return found


def soaked(stack: Stack, duration_s: float) -> list[str]:
    """Run it; what was broken."""
    plane, group = stack.plane, stack.group
    clients = int(os.environ.get("SOAK_CLIENTS") or AT_ONCE)
    with Nemesis(stack) as nemesis:
        marks = {each.name: each.process.log.stat().st_size for each in (plane, group)}
        before = held(stack)
        watch = Watch(plane, duration_s)
        steady = Mix(plane.port, MODEL, SEED, at_once=clients)
        hit = Mix(group.port, MODEL, SEED + 1, at_once=max(1, clients // 2))
        with steady, hit:
            cause_trouble(stack, nemesis, watch, duration_s)
        faults = watch.faults() + left_behind(stack, before)
        stack.await_applied(RECOVER_S)
        logs = {
            each.name: each.process.log.read_bytes()[marks[each.name] :] for each in (plane, group)
        }
    faults += history.faults_in(steady.asked, logs["a"].splitlines())
    faults += history.faults_in(
        hit.asked, logs["g"].splitlines(), nemesis.workers_hit, nemesis.killed
    )
    faults += [f"{word.decode()!r} in a log" for word in BAD_WORDS if word in logged(stack)]
    per_request = {
        name: len(logs[name]) // max(1, len(mix.asked)) for name, mix in (("a", steady), ("g", hit))
    }
    faults += [
        f"{size} bytes of log per request" for size in per_request.values() if size > MAX_LOG_BYTES
    ]
    print_figures(
        {
            "seconds": round(duration_s),
            "requests": len(steady.asked) + len(hit.asked),
            "steady": dict(steady.ended().most_common()),
            "with workers hit": dict(hit.ended().most_common()),
            "access lines": sum(
                len(history.access_lines(log.splitlines())) for log in logs.values()
            ),
            "answered with 5xx": [
                f"{line['status']} {line.get('code', '')} {line.get('detail', '')}".strip()
                for log in logs.values()
                for line in history.access_lines(log.splitlines())
                if line["status"] >= 500
            ][:MAX_SHOWN],
            "accidents": [
                f"{nemesis.done.count(name)} x {name}" for name in dict.fromkeys(nemesis.done)
            ],
            "memory peaks, MB": [round(peak / 1e6, 2) for peak in watch.peaks],
            "held before, after": [before, held(stack)],
            "revisions": [watch.first_revision, watch.applied[1]],
            "log bytes/request": per_request,
        }
    )
    return faults


def cause_trouble(stack: Stack, nemesis: Nemesis, watch: Watch, duration_s: float) -> None:
    """Changes and accidents until the time is over."""
    change_at, accident_at = time.monotonic(), time.monotonic() + ACCIDENT_EVERY_S / 2
    while (passed_s := watch.look()) < duration_s:
        now = time.monotonic()
        if now >= change_at:
            change_at = now + CHANGE_EVERY_S
            stack.assert_a_change_is_applied(RECOVER_S)
        if now >= accident_at and duration_s - passed_s > ACCIDENT_EVERY_S / 2:
            accident_at = now + ACCIDENT_EVERY_S
            nemesis.accident()
        time.sleep(0.5)


def own_bytes(pid: int) -> int:
    """Memory of this process alone: what it shares with others grows and shrinks with them."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) * 1024
    return 0


def held(stack: Stack) -> dict[str, int]:
    """Descriptors of the steady data plane, and connections to Redis."""
    descriptors = len(list(Path(f"/proc/{stack.plane.process.pid}/fd").iterdir()))
    clients: int = stack.redis.info("clients")["connected_clients"]
    return {"descriptors": descriptors, "redis connections": clients}


def left_behind(stack: Stack, before: dict[str, int]) -> list[str]:
    """What is still held when nobody asks any more."""
    planes = (stack.plane, stack.group)

    def is_as_before() -> bool:
        now = held(stack)
        return all(now[name] <= count + SPARE_FDS for name, count in before.items())

    try:
        for plane in planes:
            eventually(
                "nothing is in flight",
                lambda plane=plane: plane.metric("aivonx_in_flight") == 0,
                SETTLE_S,
            )
        eventually("no active counts", lambda: not stack.active_counts(), SETTLE_S)
        eventually(f"held as before: {before}", is_as_before, IDLE_S)
    except AssertionError as error:
        return [f"{error}; {held(stack)}"]
    return []


def logged(stack: Stack) -> bytes:
    return b"".join(path.read_bytes() for path in stack.logs())


def print_figures(figures: dict[str, object]) -> None:
    for name, value in figures.items():
        print(f"{name:20} {json.dumps(value)}", flush=True)


def main() -> int:
    """Run for SOAK_S seconds."""
    duration_s = float(os.environ.get("SOAK_S") or 300)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        with open_database("sqlite", directory) as database, Stack(directory, database) as stack:
            stack.reset()
            stack.api.config_change(**UNHURRIED)
            faults = soaked(stack, duration_s)
    for fault in faults:
        print(f"BROKEN: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
