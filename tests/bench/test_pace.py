"""How fast the core is."""

import os

from pace import Pace, look, slowness
from stage import Cores


def test_a_look_is_taken_on_the_proxys_core_and_leaves_no_trace() -> None:
    before = os.sched_getaffinity(0)
    seen = look(Cores(min(before), max(before)), 0.02)
    assert 0 < seen.best_us <= seen.mean_us
    assert os.sched_getaffinity(0) == before


def test_slowness_is_counted_from_the_best_of_the_whole_run() -> None:
    assert slowness([Pace(150, 100), Pace(250, 240)], 100) == 2.0
    assert slowness([], 100) is None
