"""The benchmark starts as `make bench` starts it."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_it_finds_what_it_imports() -> None:
    """Without pytest, which adds folders to the path."""
    done = subprocess.run(
        [sys.executable, "tests/bench/run.py", "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--quick" in done.stdout
