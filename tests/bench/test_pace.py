"""How much of the machine a measure had."""

import os
from pathlib import Path

import pytest
from pace import Pace, Ticks, look, processor, slowness, stolen_percent, ticks
from stage import Cores


def test_a_look_is_taken_on_the_proxys_core_and_leaves_no_trace() -> None:
    before = os.sched_getaffinity(0)
    seen = look(Cores(min(before), max(before)), 0.02)
    assert 0 < seen.best_us <= seen.mean_us
    assert os.sched_getaffinity(0) == before


def test_slowness_is_counted_from_the_best_of_the_whole_run() -> None:
    assert slowness([Pace(150, 100), Pace(250, 240)], 100) == 2.0
    assert slowness([], 100) is None


STAT = """cpu  70 0 20 300 0 0 0 10 5 0
cpu0 30 0 10 160 0 0 0 0 5 0
cpu1 40 0 10 140 0 0 0 10 0 0
intr 9
"""


@pytest.mark.parametrize(
    ("core", "expected"), [(1, Ticks(10, 200)), (0, Ticks(0, 200)), (None, Ticks(10, 400))]
)
def test_what_the_host_stole_is_that_of_the_proxys_core(tmp_path: Path, core, expected) -> None:
    (tmp_path / "stat").write_text(STAT, encoding="ascii")
    assert ticks(Cores(0, core), tmp_path / "stat") == expected


def test_what_the_host_stole_is_a_share_of_the_time_between() -> None:
    assert stolen_percent(Ticks(10, 200), Ticks(60, 400)) == 25.0
    assert stolen_percent(Ticks(10, 200), Ticks(10, 200)) == 0.0


def test_this_machine_says_how_long_it_has_run() -> None:
    assert ticks(Cores(None, None)).total > 0
    assert processor()


def test_a_processor_is_told_from_one_of_the_same_name(tmp_path: Path) -> None:
    path = tmp_path / "cpuinfo"
    path.write_text("model\t\t: 106\nmodel name\t: Xeon @ 2.80GHz\n\n", encoding="utf-8")
    assert processor(path) == "Xeon @ 2.80GHz, model 106"
