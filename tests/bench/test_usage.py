"""CPU and memory from /proc."""

import os
import subprocess
import sys
import time

import usage

SPIN = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ninput()"
PARENT = f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {SPIN!r}])"


def test_a_name_with_spaces_and_brackets_shifts_nothing() -> None:
    assert usage.stat_fields("12 (a) b (c) S 7 8 9") == ["S", "7", "8", "9"]


def test_children_are_counted_with_their_parent() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        members = usage.family(process.pid)
        assert len(members) == 2
        assert usage.cpu_us(process.pid) >= 150_000
        assert usage.rss_bytes(process.pid) > usage.rss_bytes(members[1]) > 0
        process.communicate(b"\n")


def test_a_process_that_is_gone_used_nothing_any_more() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    assert usage.cpu_us(process.pid) == 0
    assert usage.rss_bytes(process.pid) == 0


def test_our_own_cpu_grows_while_we_work() -> None:
    before, end = usage.cpu_us(os.getpid()), time.process_time() + 0.1
    while time.process_time() < end:
        pass
    assert usage.cpu_us(os.getpid()) - before >= 50_000
