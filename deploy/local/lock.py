"""`make lock`: write the four locks from pyproject.toml.

One resolution for every supported Python (3.11 and newer), each file with hashes and without the
address of any index, so that it installs from wherever the machine gets its packages.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCKS = {
    "requirements.txt": ("data-plane", "control-plane", "native"),
    "requirements-data-plane.txt": ("data-plane",),
    "requirements-dev.txt": ("data-plane", "control-plane", "native", "dev"),
    "requirements-clients.txt": ("clients",),
}


def main() -> None:
    """Resolve the first lock freely, and the others within it, so that they never disagree."""
    first, *others = LOCKS
    compile_lock(first)
    for name in others:
        compile_lock(name, "--constraint", first)


def compile_lock(name: str, *options: str) -> None:
    """Write one lock."""
    groups = [option for group in LOCKS[name] for option in ("--group", group)]
    command = [
        sys.executable, "-m", "uv", "pip", "compile", "pyproject.toml", *groups, *options,
        "--universal", "--python-version", "3.11", "--generate-hashes", "--upgrade",
        "--no-header", "--no-emit-index-url", "--no-emit-find-links", "--quiet",
        "--output-file", name,
    ]  # fmt: skip
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
