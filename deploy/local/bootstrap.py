"""Make `.venv`, install a lock into it, and run something with it. Standard library only.

    python3 deploy/local/bootstrap.py requirements.txt -- -m deploy.local.supervisor

A stamp inside `.venv` holds the hash of what was installed, so the second time costs nothing.
Works on a Debian without python3-venv too: there `venv` can still make an environment without pip,
and the system's pip installs into it.
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
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / "installed.json"
MINIMUM = (3, 11)
SUPERSETS = {
    "requirements.txt": ("requirements.txt", "requirements-dev.txt"),
    "requirements-dev.txt": ("requirements-dev.txt",),
}


def main(arguments: list[str]) -> None:
    """Install the lock named first, then become what stands behind `--`."""
    if sys.version_info < MINIMUM:
        fail(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")
    lock, separator = [*arguments, "", ""][:2]
    command = arguments[2:]
    if lock not in SUPERSETS or separator != "--" or not command:
        fail("usage: bootstrap.py requirements.txt|requirements-dev.txt -- ARGUMENT...")
    if not is_installed(lock):
        # Held until we become the command: two terminals must not install into one `.venv`.
        turn = os.open(__file__, os.O_RDONLY)
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not is_installed(lock):
            install(lock)
    os.chdir(ROOT)
    os.environ["PYTHONPATH"] = str(ROOT)
    os.execv(PYTHON, [str(PYTHON), *command])


def fail(line: str) -> NoReturn:
    """End with one line."""
    sys.exit(f"aivonx: {line}")


def fingerprint(lock: str) -> str:
    """What the stamp must say: this lock, for this Python."""
    content = (ROOT / lock).read_bytes()
    version = ".".join(map(str, sys.version_info[:2]))
    return f"{version}:{hashlib.sha256(content).hexdigest()}"


def is_installed(lock: str) -> bool:
    """Whether `.venv` holds this lock, or one that includes it."""
    try:
        stamp = json.loads(STAMP.read_text())
    except (OSError, ValueError):
        return False
    return PYTHON.exists() and any(stamp.get(name) == fingerprint(name) for name in SUPERSETS[lock])


def install(lock: str) -> None:
    """Make the environment anew and install the lock."""
    sys.stderr.write(f"aivonx: installing {lock} into .venv (once) ...\n")
    stamp = _read_stamp()
    if not any(value.startswith(_prefix()) for value in stamp.values()):
        shutil.rmtree(VENV, ignore_errors=True)
        stamp = {}
    pip = _environment_with_pip()
    command = [
        *pip, "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps",
        "--require-hashes", "--only-binary", ":all:", "--requirement", str(ROOT / lock),
    ]  # fmt: skip
    if subprocess.run(command, cwd=ROOT, check=False).returncode:
        fail("pip could not install the packages; what it said stands above.")
    # A lock replaces what an older one of another name left behind.
    STAMP.write_text(json.dumps({lock: fingerprint(lock)}))


def _prefix() -> str:
    return ".".join(map(str, sys.version_info[:2])) + ":"


def _read_stamp() -> dict[str, str]:
    try:
        return dict(json.loads(STAMP.read_text()))
    except (OSError, ValueError):
        return {}


def _environment_with_pip() -> list[str]:
    """Make `.venv` unless it stands, and say how to call a pip that installs into it.

    The system's pip can install into an environment that has none, which saves the seconds of
    giving it one, and is the only way on a Debian without python3-venv. Where there is no such pip,
    the environment gets its own.
    """
    system_pip = [sys.executable, "-m", "pip", "--python", str(PYTHON)]
    own_pip = [str(PYTHON), "-m", "pip"]
    if PYTHON.exists() and _succeeds(*own_pip, "--version"):
        return own_pip
    _make_environment("--without-pip")
    if _succeeds(*system_pip, "--version"):
        return system_pip
    # Debian without python3-venv has the module ensurepip, but not the wheels inside.
    if not _succeeds(sys.executable, "-c", "import ensurepip; ensurepip.version()"):
        fail("pip is missing; install it first (Debian: apt install python3-venv, or python3-pip).")
    _make_environment("--clear")
    return own_pip


def _make_environment(option: str) -> None:
    made = subprocess.run([sys.executable, "-m", "venv", option, str(VENV)], check=False)
    if made.returncode:
        fail("the virtual environment could not be made; what was said stands above.")


def _succeeds(*command: str) -> bool:
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except KeyboardInterrupt:
        fail("interrupted; the next start installs what is missing.")
