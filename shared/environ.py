"""Typed reading of settings from the environment.

Rules: every NAME may also be given as NAME_FILE (a path whose content is the value, as container
secrets are mounted); an empty value counts as unset; a wrong value raises `SettingError`, which
names the variable and says what is accepted. Nothing here reads the environment by itself: the
caller passes the mapping, so that a test needs no patching.
"""

from __future__ import annotations

import ipaddress
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_PORT = 65_535
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


class SettingError(ValueError):
    """A setting holds something that is not accepted. The text is fit to be shown as it is."""

    def __init__(self, name: str, accepted: str) -> None:
        super().__init__(f"{name}: {accepted}")
        self.name = name


@dataclass(frozen=True, slots=True)
class Bind:
    """An address to listen on."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def text(
    environ: Mapping[str, str],
    name: str,
    default: str | None = None,
    *,
    aliases: tuple[str, ...] = (),
) -> str:
    """The value of `name` (or NAME_FILE, or an alias), stripped. No default: it must be set."""
    for candidate in (name, *aliases):
        value = environ.get(candidate, "").strip()
        if value:
            return value
        path = environ.get(f"{candidate}_FILE", "").strip()
        if path:
            return _content(f"{candidate}_FILE", path)
    if default is None:
        raise SettingError(name, "must be set")
    return default


def _content(name: str, path: str) -> str:
    try:
        value = Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SettingError(name, f"cannot read {path} ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise SettingError(name, f"{path} is not UTF-8 text") from error
    if not value:
        raise SettingError(name, f"{path} is empty")
    return value


def integer(
    environ: Mapping[str, str],
    name: str,
    default: int,
    *,
    minimum: int = 0,
    maximum: int | None = None,
) -> int:
    """A whole number between `minimum` and `maximum`, both included."""
    raw = text(environ, name, "")
    if not raw:
        return default
    accepted = f"a whole number from {minimum}" + (f" to {maximum}" if maximum is not None else "")
    try:
        value = int(raw)
    except ValueError as error:
        raise SettingError(name, f"must be {accepted}, not {raw!r}") from error
    if value < minimum or (maximum is not None and value > maximum):
        raise SettingError(name, f"must be {accepted}, not {raw!r}")
    return value


def number(
    environ: Mapping[str, str],
    name: str,
    default: float,
    *,
    minimum: float = 0.0,
    maximum: float | None = None,
) -> float:
    """A finite number between `minimum` and `maximum`, both included."""
    raw = text(environ, name, "")
    if not raw:
        return default
    accepted = f"a number from {minimum:g}" + (f" to {maximum:g}" if maximum is not None else "")
    try:
        value = float(raw)
    except ValueError as error:
        raise SettingError(name, f"must be {accepted}, not {raw!r}") from error
    if not math.isfinite(value) or value < minimum or (maximum is not None and value > maximum):
        raise SettingError(name, f"must be {accepted}, not {raw!r}")
    return value


def boolean(
    environ: Mapping[str, str], name: str, *, default: bool, aliases: tuple[str, ...] = ()
) -> bool:
    """1/true/yes/on or 0/false/no/off, in any case."""
    raw = text(environ, name, "", aliases=aliases).lower()
    if not raw:
        return default
    if raw in _TRUE:
        return True
    if raw in _FALSE:
        return False
    raise SettingError(name, f"must be 1, true, yes, on, 0, false, no or off, not {raw!r}")


def choice(environ: Mapping[str, str], name: str, default: str, accepted: tuple[str, ...]) -> str:
    """One of a few words, in any case."""
    raw = text(environ, name, default)
    for word in accepted:
        if raw.lower() == word.lower():
            return word
    raise SettingError(name, f"must be one of {', '.join(accepted)}, not {raw!r}")


def items(
    environ: Mapping[str, str], name: str, default: str = "", *, aliases: tuple[str, ...] = ()
) -> tuple[str, ...]:
    """A comma-separated list, blanks around and empty items dropped."""
    raw = text(environ, name, default, aliases=aliases)
    return tuple(part.strip() for part in raw.split(",") if part.strip())


def bind(environ: Mapping[str, str], name: str, default: str) -> Bind:
    """An address to listen on: `host:port` or `[v6]:port`; port 0 lets the kernel choose."""
    raw = text(environ, name, default)
    host, separator, port = raw.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    is_port = port.isascii() and port.isdigit() and int(port) <= MAX_PORT
    if not (separator and host and is_port):
        raise SettingError(name, f"must be host:port, such as 127.0.0.1:11435, not {raw!r}")
    return Bind(host, int(port))
