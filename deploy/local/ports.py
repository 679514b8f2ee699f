"""Is an address free to listen on, and if not, who has it."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import TYPE_CHECKING

from shared.environ import SettingError

if TYPE_CHECKING:
    from shared.environ import Bind

_LISTEN = "0A"


def require_free(setting: str, bind: Bind) -> None:
    """Raise SettingError, naming the setting and the owner, unless we can listen there."""
    family = socket.AF_INET6 if ":" in bind.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bind.host, bind.port))
            probe.listen()
        except OSError as error:
            raise SettingError(
                setting, f"cannot listen on {bind} ({error.strerror}{owner_of(bind.port)})"
            ) from error


def owner_of(port: int) -> str:
    """Whoever listens on a port, as the end of a sentence; "" when that cannot be seen."""
    inodes = _listening_inodes(port)
    if not inodes:
        return ""
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _holds(process, inodes):
            name = (process / "comm").read_text().strip()
            return f", by {name}, process {process.name}"
    return ""


def _listening_inodes(port: int) -> set[str]:
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if int(fields[1].rpartition(":")[2], 16) == port and fields[3] == _LISTEN:
                found.add(f"socket:[{fields[9]}]")
    return found


def _holds(process: Path, inodes: set[str]) -> bool:
    try:
        return any(str(fd.readlink()) in inodes for fd in (process / "fd").iterdir())
    except OSError:
        return False
