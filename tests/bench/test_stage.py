"""The stage: parts end with it, and say why they did not start."""

import subprocess
import sys

import pytest
from provide import libraries
from stage import AbsentError, Cores, Stage, free_port, wait_for

UNPINNED = Cores(None, None)
ORPHANING = (
    "import subprocess, sys\n"
    "child = subprocess.Popen([sys.executable, '-c', 'input()'], stdin=subprocess.PIPE)\n"
    "print(child.pid, flush=True)\n"
    "child.wait()"
)


@pytest.fixture
def stage(tmp_path):
    made = Stage(tmp_path, UNPINNED)
    yield made
    made.stop_all()


def is_alive(pid: int) -> bool:
    state = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(state.stdout.strip()) and not state.stdout.startswith("Z")


def test_a_part_and_what_it_started_end_with_the_stage(stage) -> None:
    process = stage.start("parent", [sys.executable, "-c", ORPHANING], core=None, stdout=-1)
    child = int(process.popen.stdout.readline())
    process.popen.stdout.close()
    stage.stop_all()
    assert not is_alive(process.pid)
    assert not is_alive(child)


def test_a_part_that_ends_at_once_is_absent_with_its_last_words(stage) -> None:
    command = [sys.executable, "-c", "raise SystemExit('no licence')"]
    process = stage.start("shy", command, core=None)
    with pytest.raises(AbsentError, match="shy: it ended at once: no licence"):
        wait_for(process, free_port(), "/", 10)


def test_a_part_that_never_answers_is_absent(stage) -> None:
    process = stage.start("deaf", [sys.executable, "-c", "input()"], core=None, stdout=-1)
    process.popen.stdout.close()
    with pytest.raises(AbsentError, match="deaf"):
        wait_for(process, free_port(), "/", 0.2)


def test_nothing_is_unpacked_nothing_is_added_to_the_libraries(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("AIVONX_DATA_DIR", str(tmp_path))
    assert libraries() == {}
