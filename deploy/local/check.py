"""`make check`: lint, form, types, import contracts, spelling. `make fmt` mends what it can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("mypy", "--config-file", "control_plane/mypy.ini"),
    ("lint-imports",),
    ("codespell", "shared", "data_plane", "control_plane", "deploy", "tests", "README.md"),
)
# Django's plugin loads the settings, and these want secrets. Nothing is started with them.
PLACEHOLDERS = {
    "AIVONX_SECRET_KEY": "a placeholder that is long enough to be accepted",
    "AIVONX_JWT_KEY": "another placeholder that is long enough to be accepted",
    "AIVONX_SNAPSHOT_KEY": "a placeholder that is long enough to be accepted",
    "AIVONX_NODE_TOKEN_KEYS": "cGxhY2Vob2xkZXJwbGFjZWhvbGRlcnBsYWNlaG9sZGU=",
}
FIXES = (("ruff", "check", "--fix", "."), ("ruff", "format", "."))


def main() -> int:
    """Run all of them, even when one fails."""
    commands = FIXES if "--fix" in sys.argv[1:] else CHECKS
    failed = [
        command
        for command in commands
        if subprocess.run(
            (BIN / command[0], *command[1:]),
            cwd=ROOT,
            env={**PLACEHOLDERS, **os.environ},
            check=False,
        ).returncode
    ]
    for command in failed:
        sys.stderr.write(f"failed: {' '.join(command)}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
