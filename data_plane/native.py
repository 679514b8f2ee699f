"""The path of a request as machine code, where it was compiled from exactly these sources.

mypyc, which comes with mypy, compiles typed Python ahead of time: the same sources, the same
behaviour, without the interpreter. `deploy/local/native.py` does it, where there is a C compiler;
what it makes lies in the environment that this Python runs in, under the fingerprint of all sources
of the data plane, so that what is out of date is never found. Where there is none, the sources run.

Called before anything that may be compiled is imported; imports nothing of that kind itself.
"""

from __future__ import annotations

import hashlib
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import TYPE_CHECKING, Final

import data_plane
import shared
from shared import environ as read

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import ModuleType

SETTING: Final = "AIVONX_NATIVE"
PACKAGES: Final[tuple[ModuleType, ...]] = (data_plane, shared)
ROOT: Final = Path(__file__).resolve().parents[1]

MODULES: Final = (
    "data_plane/admission/gate.py",
    "data_plane/admission/identify.py",
    "data_plane/admission/limits.py",
    "data_plane/protocol/ask.py",
    "data_plane/protocol/asks.py",
    "data_plane/protocol/bodies.py",
    "data_plane/protocol/dialects.py",
    "data_plane/protocol/features.py",
    "data_plane/protocol/headers.py",
    "data_plane/protocol/lines.py",
    "data_plane/protocol/matching.py",
    "data_plane/protocol/members.py",
    "data_plane/protocol/mistakes.py",
    "data_plane/protocol/ndjson.py",
    "data_plane/protocol/routes.py",
    "data_plane/protocol/scanners.py",
    "data_plane/protocol/sse.py",
    "data_plane/protocol/usage.py",
    "data_plane/proxy/answers.py",
    "data_plane/proxy/attempts.py",
    "data_plane/proxy/call.py",
    "data_plane/proxy/caller.py",
    "data_plane/proxy/filler.py",
    "data_plane/proxy/findings.py",
    "data_plane/proxy/gathered.py",
    "data_plane/proxy/handler.py",
    "data_plane/proxy/intake.py",
    "data_plane/proxy/job.py",
    "data_plane/proxy/judgement.py",
    "data_plane/proxy/reception.py",
    "data_plane/proxy/relay.py",
    "data_plane/proxy/reply.py",
    "data_plane/proxy/selection.py",
    "data_plane/proxy/waiting.py",
    "data_plane/routing/choose.py",
    "data_plane/routing/circuit.py",
    "data_plane/routing/permits.py",
    "data_plane/routing/pool_node.py",
    "data_plane/routing/ranking.py",
    "data_plane/routing/strategies.py",
    "data_plane/telemetry/logs.py",
    "data_plane/telemetry/metrics.py",
    "data_plane/telemetry/record.py",
    "data_plane/upstream/answer.py",
    "data_plane/upstream/connection.py",
    "data_plane/upstream/faults.py",
    "data_plane/upstream/forward.py",
    "data_plane/upstream/lease.py",
    "data_plane/upstream/outbox.py",
    "data_plane/upstream/pool.py",
    "data_plane/upstream/watch.py",
    "shared/codes.py",
)
"""What is compiled: what every request passes. Not what msgspec reads JSON into (mypyc drops the
options of such classes) nor what extends a class of aiohttp's. A class stands here together with
those that extend it."""


def use(environ: Mapping[str, str]) -> Path | None:
    """Have what was compiled imported in place of its sources; None where there is none.

    Raises SettingError for a wrong `AIVONX_NATIVE`, and when it is `on` and there is none.
    """
    wish = read.choice(environ, "AIVONX_NATIVE", "auto", ("auto", "on", "off"))
    directory = None if wish == "off" else _found()
    if directory is None:
        if wish == "on":
            raise read.SettingError(SETTING, "nothing was compiled from these sources: make native")
        return None
    sys.path.append(str(directory))  # the library that all compiled modules share
    for package in PACKAGES:
        package.__path__.insert(0, str(directory / package.__name__))
    return directory


def _found() -> Path | None:
    try:
        directory = place()
        return directory if directory.is_dir() else None
    except OSError:  # sources on their way, or somebody else's environment: the sources are there
        return None


def is_used() -> bool:
    """Whether what was compiled is imported in this process."""
    return len(data_plane.__path__) > 1


def place(root: Path = ROOT) -> Path:
    """Where what is compiled of this tree for this kind of Python lies, or would lie."""
    kind = EXTENSION_SUFFIXES[0].strip(".").removesuffix(".so")
    return Path(sys.prefix) / "native" / f"{kind}-{fingerprint(root)[:16]}"


def fingerprint(root: Path) -> str:
    """SHA-256 over all that a data plane reads of its packages."""
    found = hashlib.sha256()
    for path in sources(root):
        found.update(b"%b\0" % str(path.relative_to(root)).encode())
        found.update(hashlib.sha256(path.read_bytes()).digest())
    return found.hexdigest()


def sources(root: Path) -> list[Path]:
    """The files of the packages below `root`, what is written for people left out."""
    return [
        path
        for package in PACKAGES
        for path in sorted((root / package.__name__).rglob("*"))
        if path.suffix in {".py", ".json"} and path.is_file()
    ]
