"""`make native`: compile the path of a request, where there is a C compiler.

    python -m deploy.local.native

data_plane/native.py says what is compiled and how it is found. What comes out is a copy of the
packages with the compiled modules among their sources, beside the environment's own packages.
`make run` starts this in the background, `make test` and `make bench` wait for it. It takes a
minute of one core, once for each state of the sources.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from data_plane import native

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = native.ROOT
KEPT = 3
"""States of the sources whose compiled modules are kept: comparing two should not compile them
again each time."""

COMMAND = (sys.executable, "-m", "deploy.local.native")
RUN = (sys.executable, str(Path(__file__).with_name("mypyc_run.py")))
COMPILERS = ("cc", "gcc", "clang")
LAST_LINES = 20
MOST_NICE = 19


class NativeError(Exception):
    """It cannot be compiled. The text says why, and what would help."""


def main(arguments: list[str]) -> int:
    """Compile, unless that was done; the exit status."""
    if "--nice" in arguments:
        os.nice(MOST_NICE)
    try:
        compiler = compiler_found()
        with _alone(native.place().parent) as lock:
            if native.place().is_dir():
                os.utime(native.place())  # it is wanted: see `_prune`
                return 0
            say("compiling the path of a request (once, a minute of one core) ...")
            _compile(compiler, lock)
    except NativeError as error:
        say(f"not compiled: {error}")
        return 1
    except OSError as error:
        say(f"not compiled: {error.filename or native.place()}: {error.strerror}")
        return 1
    return 0


def build() -> bool:
    """Have it compiled in a process of its own. False where that cannot be; it has said why."""
    if native.place().is_dir():
        return True
    return subprocess.run(COMMAND, cwd=ROOT, check=False).returncode == 0


def is_worth_trying() -> bool:
    """Whether it was not compiled yet and can be, as far as one can see."""
    try:
        compiler_found()
    except NativeError:
        return False
    return not native.place().is_dir()


def compiler_found() -> str:
    """The command of a C compiler. Raises NativeError when something is missing."""
    for module, package in (("mypyc", "mypy"), ("setuptools", "setuptools")):
        if importlib.util.find_spec(module) is None:
            raise NativeError(f"{package} is not installed in {sys.prefix}")
    header = Path(sysconfig.get_path("include")) / "Python.h"
    if not header.is_file():
        raise NativeError(f"{header} is missing (Debian: apt install python3-dev)")
    configured = str(sysconfig.get_config_var("CC") or "").split()[:1]
    for command in (os.environ.get("CC", ""), *configured, *COMPILERS):
        if command and shutil.which(command):
            return command
    raise NativeError("there is no C compiler (Debian: apt install gcc)")


@contextmanager
def _alone(directory: Path) -> Iterator[int]:
    """Two at once would only be slower. Gives the lock's descriptor."""
    try:
        directory.mkdir(exist_ok=True)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise NativeError(f"{directory} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock
    finally:
        os.close(lock)


def _compile(compiler: str, lock: int) -> None:
    """Compile a copy of the sources, so that nobody changes them meanwhile."""
    place = native.place()
    for left in place.parent.glob("new-*"):  # by one that was ended in the middle
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix="new-") as name:
        work = Path(name)
        copy = work / "lib"
        for path in native.sources(ROOT):
            kept = copy / path.relative_to(ROOT)
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept)
        if native.place(copy) != place:
            raise NativeError("the sources were changed meanwhile; try again")
        shutil.copyfile(ROOT / "pyproject.toml", work / "pyproject.toml")
        done = subprocess.run(
            (*RUN, str(work), str(place.parent / "cache")),
            cwd=copy,
            env={**os.environ, "CC": compiler, "PYTHONPATH": str(copy)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=(lock,),  # what we have started may outlive us
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode:
            said = "\n".join(done.stdout.splitlines()[-LAST_LINES:])
            raise NativeError(f"mypyc or the C compiler failed:\n{said}")
        copy.rename(place)
    _prune(place.parent)


def _prune(directory: Path) -> None:
    """Drop what was compiled, and asked for the last time, long ago."""
    built = sorted(
        (each for each in directory.iterdir() if each.name.startswith("cpython-")),
        key=lambda each: each.stat().st_mtime,
    )
    for each in built[:-KEPT]:
        shutil.rmtree(each, ignore_errors=True)


def say(line: str) -> None:
    """Tell whoever waits."""
    sys.stderr.write(f"aivonx: {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
