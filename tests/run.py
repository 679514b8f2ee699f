"""`make test`: every ring, then the Django ring once more on PostgreSQL, and what a data plane does
once more with its path compiled, where it can be.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from deploy.local import native

ROOT = Path(__file__).resolve().parents[1]
RUNS = (
    ("-n", "2", "--dist", "loadgroup", "--database=sqlite", "tests"),
    ("-n", "2", "--dist", "loadfile", "--database=postgresql", "tests/control_plane"),
)
COMPILED = (
    "-n", "2", "--dist", "loadgroup", "-m", "not interpreted",
    "tests/data_plane", "tests/clients", "tests/system",
)  # fmt: skip


def main() -> int:
    """Run all, even when one fails; extra arguments go to pytest."""
    codes = [pytest(run, "off") for run in RUNS]
    if native.build():
        codes.append(pytest(COMPILED, "on"))
    return max(codes)


def pytest(options: tuple[str, ...], is_native: str) -> int:
    """Run pytest once; its exit status."""
    command = (sys.executable, "-m", "pytest", "-q", *options, *sys.argv[1:])
    environ = {**os.environ, "AIVONX_NATIVE": is_native}
    return subprocess.run(command, cwd=ROOT, env=environ, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
