"""`make test`: every ring, then the Django ring once more on PostgreSQL."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RUNS = (
    ("-n", "2", "--dist", "loadgroup", "--database=sqlite", "tests"),
    ("-n", "2", "--dist", "loadfile", "--database=postgresql", "tests/control_plane"),
)


def main() -> int:
    """Run both, even when the first fails; extra arguments go to pytest."""
    codes = [
        subprocess.run(
            (sys.executable, "-m", "pytest", "-q", *run, *sys.argv[1:]), cwd=ROOT, check=False
        ).returncode
        for run in RUNS
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main())
