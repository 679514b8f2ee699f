"""The benchmark starts as `make bench` starts it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", ["run.py", "choosing.py sockets", "choosing.py simulator"])
def test_it_finds_what_it_imports(words) -> None:
    """Without pytest, which adds folders to the path, and with the path that `make` gives it."""
    script, *way = words.split()
    assert f"tests/bench/{words}" in (ROOT / "Makefile").read_text(encoding="utf-8")
    done = subprocess.run(
        [sys.executable, f"tests/bench/{script}", *way, "--help"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "--quick" in done.stdout
