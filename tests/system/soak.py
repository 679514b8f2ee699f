"""`make soak`: the whole system under a mixture of requests and accidents, and what it came to.

    make soak                    # 5 minutes
    make soak SOAK_S=1800        # as long as you like

While clients ask at random (fakes/mix.py), a nemesis changes the config every 5 s, and in turn
kills a node, kills Redis, freezes a node and kills the worker. The figures are printed; any broken
promise makes the exit code 1.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from fakes.database import open_database  # noqa: E402 - found only now
from fakes.mix import NEVER, Mix  # noqa: E402
from fakes.plane import MODEL  # noqa: E402
from fakes.processes import eventually  # noqa: E402
from fakes.stack import RECOVER_S, Stack  # noqa: E402

CHANGE_EVERY_S: Final = 5.0
ACCIDENT_EVERY_S: Final = 30.0
SETTLE_S: Final = 10.0
SEED: Final = 20_261_123
GROWTH: Final = 0.10
"""Of the peak of the last third over that of the second. Five minutes are short: allocators still
find their size, and one burst more moves a peak by some megabytes."""

SPARE_FDS: Final = 5
BAD_WORDS: Final = (b"Task was destroyed", b"Unclosed", b"never retrieved", b"ResourceWarning")


class Nemesis:
    """Accidents, one after the other, each repaired before the next."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._nodes = [stack.serving_node() for _ in range(3)]
        for node in self._nodes:
            node.pace(token_s=0.002)
        self._accidents = itertools.cycle(
            (self._kill_node, self._kill_redis, self._freeze_node, self._kill_worker)
        )
        self.done: list[str] = []

    def accident(self) -> None:
        """The next one, and its repair."""
        accident = next(self._accidents)
        accident()
        self.done.append(accident.__name__.strip("_").replace("_", " "))

    def _kill_node(self) -> None:
        self._nodes[0].kill()
        time.sleep(2.0)
        self._nodes[0].restart()
        self._nodes[0].pace(token_s=0.002)

    def _freeze_node(self) -> None:
        self._nodes[1].freeze()
        time.sleep(3.0)
        self._nodes[1].thaw()

    def _kill_redis(self) -> None:
        self._stack.valkey.kill()
        time.sleep(2.0)
        self._stack.start_valkey()

    def _kill_worker(self) -> None:
        self._stack.worker.kill()
        self._stack.start_worker()


def descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def soaked(stack: Stack, duration_s: float) -> list[str]:
    """Run it; what was broken."""
    nemesis = Nemesis(stack)
    plane = stack.plane
    pid = plane.process.pid
    lines_before = access_lines(stack)
    fds_before = descriptors(pid)
    peaks = [0, 0, 0]
    began_at = time.monotonic()
    change_at, accident_at = began_at, began_at + ACCIDENT_EVERY_S / 2
    with Mix(plane.port, MODEL, SEED) as mix:
        while (passed_s := time.monotonic() - began_at) < duration_s:
            third = min(int(3 * passed_s / duration_s), 2)
            peaks[third] = max(peaks[third], plane.process.memory_bytes())
            now = time.monotonic()
            if now >= change_at:
                change_at = now + CHANGE_EVERY_S
                stack.assert_a_change_is_applied(RECOVER_S)
            if now >= accident_at and duration_s - passed_s > ACCIDENT_EVERY_S / 2:
                accident_at = now + ACCIDENT_EVERY_S
                nemesis.accident()
            time.sleep(0.5)
    sent = mix.ended.total()
    faults = [f"{mix.ended[kind]} requests ended as {kind}" for kind in NEVER if mix.ended[kind]]
    faults += mix.odd
    faults += left_behind(stack, fds_before, pid)
    lines = access_lines(stack) - lines_before
    if lines != sent:
        faults.append(f"{lines} access lines for {sent} requests")
    if peaks[2] > peaks[1] * (1 + GROWTH):
        faults.append(f"memory grew: {peaks}")
    faults += [f"{word.decode()!r} in a log" for word in BAD_WORDS if word in logged(stack)]
    stack.await_applied(RECOVER_S)
    print_figures(
        {
            "seconds": round(duration_s),
            "requests": sent,
            "ended": dict(mix.ended.most_common()),
            "accidents": nemesis.done,
            "memory_peaks_mb": [round(peak / 1e6, 1) for peak in peaks],
            "descriptors": [fds_before, descriptors(pid)],
            "applied_revision": plane.applied()[1],
            "access_lines": lines,
        }
    )
    return faults


def left_behind(stack: Stack, fds_before: int, pid: int) -> list[str]:
    """What is still held when nobody asks any more."""
    plane = stack.plane
    try:
        eventually("nothing is in flight", lambda: plane.metric("aivonx_in_flight") == 0, SETTLE_S)
        eventually("no active counts", lambda: not stack.active_counts(), SETTLE_S)
        limit = fds_before + SPARE_FDS + 3 * 64  # idle connections to three nodes are kept
        eventually("descriptors are given back", lambda: descriptors(pid) <= limit, SETTLE_S)
    except AssertionError as error:
        return [str(error)]
    return []


def access_lines(stack: Stack) -> int:
    log = stack.plane.process.log.read_bytes()
    return log.count(b'"event":"request"') + log.count(b'"event": "request"')


def logged(stack: Stack) -> bytes:
    return b"".join(path.read_bytes() for path in stack.logs())


def print_figures(figures: dict[str, object]) -> None:
    for name, value in figures.items():
        print(f"{name:18} {json.dumps(value)}", flush=True)


def main() -> int:
    """Run for SOAK_S seconds."""
    duration_s = float(os.environ.get("SOAK_S") or 300)
    with tempfile.TemporaryDirectory(prefix="soak-") as name:
        directory = Path(name)
        with open_database("sqlite", directory) as database, Stack(directory, database) as stack:
            stack.reset()
            faults = soaked(stack, duration_s)
    for fault in faults:
        print(f"BROKEN: {fault}")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
