"""Make an environment, install a lock into it, and run something with it. Standard library only.

    python3 deploy/local/bootstrap.py requirements.txt -- -m deploy.local.supervisor

A stamp inside the environment holds the hash of what was installed, so that the second time costs
nothing. Works on a Debian without python3-venv too: there `venv` can still make an environment
without pip, and the system's pip installs into it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[2]
MINIMUM = (3, 11)
SUPERSETS = {
    "requirements.txt": ("requirements.txt", "requirements-dev.txt"),
    "requirements-dev.txt": ("requirements-dev.txt",),
    "requirements-clients.txt": ("requirements-clients.txt",),
}
ENVIRONMENTS = {
    "requirements.txt": ROOT / ".venv",
    "requirements-dev.txt": ROOT / ".venv",
    # Clients under test whose dependencies contradict our own.
    "requirements-clients.txt": ROOT / ".venv-clients",
}


def main(arguments: list[str]) -> None:
    """Install the lock named first, then become what stands behind `--`."""
    if sys.version_info < MINIMUM:
        fail(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")
    lock, separator = [*arguments, "", ""][:2]
    command = arguments[2:]
    if lock not in SUPERSETS or separator != "--" or not command:
        fail(f"usage: bootstrap.py {'|'.join(SUPERSETS)} -- ARGUMENT...")
    if not is_installed(lock):
        # Held until we become the command: two terminals must not install into one environment.
        turn = os.open(__file__, os.O_RDONLY)
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not is_installed(lock):
            install(lock)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(ROOT)
    python = python_of(ENVIRONMENTS[lock])
    os.execv(python, [str(python), *command])


def fail(line: str) -> NoReturn:
    """End with one line."""
    sys.exit(f"aivonx: {line}")


def fingerprint(lock: str) -> str:
    """What the stamp must say: this lock, for this Python."""
    content = (ROOT / lock).read_bytes()
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{version}:{hashlib.sha256(content).hexdigest()}"


def is_installed(lock: str) -> bool:
    """Whether its environment holds this lock, or one that includes it."""
    venv = ENVIRONMENTS[lock]
    stamp = _read_stamp(venv)
    is_there = any(stamp.get(name) == fingerprint(name) for name in SUPERSETS[lock])
    return is_there and python_of(venv).exists()


def python_of(venv: Path) -> Path:
    """The interpreter of an environment."""
    return venv / "bin" / "python"


def install(lock: str) -> None:
    """Make the environment anew and install the lock."""
    venv = ENVIRONMENTS[lock]
    sys.stderr.write(f"aivonx: installing {lock} into {venv.name} (once) ...\n")
    if not any(value.startswith(_prefix()) for value in _read_stamp(venv).values()):
        shutil.rmtree(venv, ignore_errors=True)
    pip = _environment_with_pip(venv)
    command = [
        *pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--require-hashes", "--only-binary", ":all:", "--requirement", str(ROOT / lock),
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        fail("pip could not install the packages; what it said stands above.")
    # What was compiled with other packages is compiled again.
    shutil.rmtree(venv / "native", ignore_errors=True)
    # A lock replaces what an older one of another name left behind.
    _stamp(venv).write_text(json.dumps({lock: fingerprint(lock)}))


def _prefix() -> str:
    return ".".join(map(str, sys.version_info[:2])) + ":"


def _stamp(venv: Path) -> Path:
    return venv / "installed.json"


def _read_stamp(venv: Path) -> dict[str, str]:
    try:
        return dict(json.loads(_stamp(venv).read_text()))
    except (OSError, ValueError):
        return {}


def _environment_with_pip(venv: Path) -> list[str]:
    """Make the environment unless it stands, and say how to call a pip that installs into it.

    The system's pip can install into an environment that has none, which saves the seconds of
    giving it one, and is the only way on a Debian without python3-venv. Where there is no such pip,
    the environment gets its own.
    """
    python = python_of(venv)
    system_pip = [sys.executable, "-m", "pip", "--python", str(python)]
    own_pip = [str(python), "-m", "pip"]
    if python.exists() and _succeeds(*own_pip, "--version"):
        return own_pip
    _make_environment(venv, "--without-pip")
    if _succeeds(*system_pip, "--version"):
        return system_pip
    # Debian without python3-venv has the module ensurepip, but not the wheels inside.
    if not _succeeds(sys.executable, "-c", "import ensurepip; ensurepip.version()"):
        fail("pip is missing; install it first (Debian: apt install python3-venv, or python3-pip).")
    _make_environment(venv, "--clear")
    return own_pip


def _make_environment(venv: Path, option: str) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", option, str(venv)], check=False)
    if made.returncode:
        fail("the virtual environment could not be made; what was said stands above.")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("interrupted; the next start installs what is missing.")
