"""What the supervisor reads from the environment, and the secrets it makes when there are none."""

from __future__ import annotations

import base64
import os
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shared import environ
from shared.environ import Bind, SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

PROXY_BIND = "127.0.0.1:11435"
CONTROL_BIND = "127.0.0.1:8000"
METRICS_BIND = "127.0.0.1:9435"
DATA_DIR = "./var"

_SECRETS = {
    "AIVONX_SECRET_KEY": ("DJANGO_SECRET_KEY",),
    "AIVONX_JWT_KEY": (),
    "AIVONX_SNAPSHOT_KEY": (),
    "AIVONX_NODE_TOKEN_KEYS": (),
}


@dataclass(frozen=True, slots=True)
class Settings:
    """The supervisor's settings."""

    data_dir: Path
    proxy_bind: Bind
    control_bind: Bind
    metrics_bind: Bind
    redis_url: str
    database_url: str
    drain_timeout_s: float
    native: str
    """Whether the data plane is compiled: auto (for the next start), on (for this one), off."""

    operator_host: str
    """A name that the control plane accepts in a Host header: what we call it by ourselves."""

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Read and check. Raises SettingError."""
        data_dir = Path(environ.text(variables, "AIVONX_DATA_DIR", DATA_DIR)).resolve()
        settings = cls(
            data_dir=data_dir,
            proxy_bind=_fixed(variables, "AIVONX_PROXY_BIND", PROXY_BIND),
            control_bind=_fixed(variables, "AIVONX_CONTROL_BIND", CONTROL_BIND),
            metrics_bind=_fixed(variables, "AIVONX_METRICS_BIND", METRICS_BIND),
            redis_url=environ.text(variables, "REDIS_URL", ""),
            database_url=environ.text(
                variables, "DATABASE_URL", f"sqlite:///{data_dir}/control.sqlite3"
            ),
            drain_timeout_s=environ.number(
                variables, "AIVONX_DRAIN_TIMEOUT_S", 120.0, maximum=3_600
            ),
            native=environ.choice(variables, "AIVONX_NATIVE", "auto", ("auto", "on", "off")),
            operator_host=_operator_host(variables),
        )
        settings._require_different_binds()
        return settings

    def _require_different_binds(self) -> None:
        taken: dict[Bind, str] = {}
        for name, bind in self.binds.items():
            if bind in taken:
                raise SettingError(name, f"{bind} is what {taken[bind]} says too")
            taken[bind] = name

    @property
    def binds(self) -> dict[str, Bind]:
        """The addresses to listen on, by the setting that names them."""
        return {
            "AIVONX_PROXY_BIND": self.proxy_bind,
            "AIVONX_CONTROL_BIND": self.control_bind,
            "AIVONX_METRICS_BIND": self.metrics_bind,
        }


def _fixed(variables: Mapping[str, str], name: str, default: str) -> Bind:
    """A bind that others can be told of before anybody listens there."""
    bind = environ.bind(variables, name, default)
    if bind.port == 0:
        raise SettingError(name, "must name a port here, not 0")
    return bind


def _operator_host(variables: Mapping[str, str]) -> str:
    names = environ.items(
        variables, "AIVONX_ALLOWED_HOSTS", "localhost", aliases=("DJANGO_ALLOWED_HOSTS",)
    )
    # ".example.com" stands for the name and all below it, "*" for every name.
    return "localhost" if "*" in names else names[0].lstrip(".")


def make_data_dir(path: Path) -> None:
    """Make the data directory, readable by its owner only."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        (path / "logs").mkdir(mode=0o700, exist_ok=True)
        (path / "secrets").mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise SettingError(
            "AIVONX_DATA_DIR", f"{path} cannot be used ({error.strerror})"
        ) from error


def secrets_for_children(variables: Mapping[str, str], data_dir: Path) -> dict[str, str]:
    """The secrets that are not set, each made once and kept in a file that only we may read."""
    return {
        name: _kept(data_dir / "secrets" / name.lower(), name)
        for name, aliases in _SECRETS.items()
        if not environ.text(variables, name, "", aliases=aliases)
    }


def _kept(path: Path, name: str) -> str:
    if path.exists() and (kept := path.read_text().strip()):
        return kept
    made = (
        base64.urlsafe_b64encode(os.urandom(32)).decode()
        if name == "AIVONX_NODE_TOKEN_KEYS"
        else secrets.token_urlsafe(48)
    )
    # Renamed into place: a start that is killed here must not leave half a secret.
    new = path.with_suffix(".new")
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(made)
    new.replace(path)
    return made
