"""Clients whose dependencies contradict ours run in `.venv-clients`, made when first needed.

A program is told the proxy's address and prints one JSON object: by the name of each step, what it
gave. It is one program for all steps because importing such a client takes seconds.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parents[2]
PROGRAMS: Final = ROOT / "tests" / "clients" / "programs"
LOCK: Final = "requirements-clients.txt"
BOOTSTRAP: Final = ROOT / "deploy" / "local" / "bootstrap.py"
# The Python that made our own environment: it has a pip, or can make one.
PYTHON: Final = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
INSTALL_AND_RUN_S: Final = 500


def run(*command: str) -> str:
    """Run Python with these arguments in the clients' environment; what it printed."""
    done = subprocess.run(
        [PYTHON, BOOTSTRAP, LOCK, "--", *command],
        # LiteLLM would fetch a list of prices from far away as soon as it is imported.
        env=os.environ | {"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
        capture_output=True,
        text=True,
        timeout=INSTALL_AND_RUN_S,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def results(program: str, address: str) -> dict[str, Any]:
    """What the steps of a program in `tests/clients/programs` gave."""
    printed: dict[str, Any] = json.loads(run(str(PROGRAMS / program), address).splitlines()[-1])
    return printed
