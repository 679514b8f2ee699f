"""The control plane's settings, read once from the environment and checked.

A wrong value stops the start with one line that names the variable and what is accepted.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import environ as django_environ
from cryptography.fernet import Fernet

from shared import environ, wire
from shared.addresses import AddressPolicy, policy_read
from shared.environ import Bind, SettingError
from shared.registries import Registries, registries_read

if TYPE_CHECKING:
    from collections.abc import Mapping

MIN_SECRET_LENGTH = 32
STATEMENT_TIMEOUT_MS = 15_000
LOCK_TIMEOUT_MS = 5_000
SQLITE_BUSY_TIMEOUT_S = 20
POOL_SIZE = 10
"""For each process: gunicorn's eight threads and two to spare."""
POOL_TIMEOUT_S = 3


@dataclass(frozen=True, slots=True)
class Env:
    """Every setting of the control plane."""

    data_dir: Path
    control_bind: Bind
    redis_url: str
    database: dict[str, Any]
    admin_password: str
    secret_key: str
    jwt_key: str
    snapshot_key: bytes
    node_token_keys: tuple[str, ...]
    address_policy: AddressPolicy
    registries: Registries
    debug: bool
    https: bool
    allowed_hosts: tuple[str, ...]
    cors_origins: tuple[str, ...]
    csrf_trusted_origins: tuple[str, ...]
    trusted_proxies: int
    public_schema: bool
    job_retention_days: int
    log_format: str
    log_level: str

    @classmethod
    def read(cls, variables: Mapping[str, str]) -> Self:
        """Read and check everything. Raises SettingError."""
        data_dir = Path(environ.text(variables, "AIVONX_DATA_DIR", "./var")).resolve()
        bind = environ.bind(variables, "AIVONX_CONTROL_BIND", "127.0.0.1:8000")
        hosts = {
            "localhost",
            "127.0.0.1",
            "[::1]",
            f"[{bind.host}]" if ":" in bind.host else bind.host,
        }
        return cls(
            data_dir=data_dir,
            control_bind=bind,
            redis_url=_redis_url(variables),
            database=_database(variables, data_dir),
            admin_password=environ.text(
                variables, "AIVONX_ADMIN_PASSWORD", "", aliases=("ROOT_PASSWORD",)
            ),
            secret_key=_secret(variables, "AIVONX_SECRET_KEY", "DJANGO_SECRET_KEY"),
            jwt_key=_secret(variables, "AIVONX_JWT_KEY"),
            snapshot_key=_snapshot_key(variables),
            node_token_keys=_fernet_keys(variables),
            address_policy=policy_read(variables),
            registries=registries_read(variables),
            debug=environ.boolean(
                variables, "AIVONX_DEBUG", default=False, aliases=("DJANGO_DEBUG",)
            ),
            https=environ.boolean(variables, "AIVONX_HTTPS", default=False),
            allowed_hosts=environ.items(
                variables,
                "AIVONX_ALLOWED_HOSTS",
                ",".join(sorted(hosts)),
                aliases=("DJANGO_ALLOWED_HOSTS",),
            ),
            cors_origins=environ.items(
                variables, "AIVONX_CORS_ORIGINS", aliases=("DJANGO_CORS_ALLOWED_ORIGINS",)
            ),
            csrf_trusted_origins=environ.items(
                variables,
                "AIVONX_CSRF_TRUSTED_ORIGINS",
                aliases=("DJANGO_CSRF_TRUSTED_ORIGINS",),
            ),
            trusted_proxies=environ.integer(variables, "AIVONX_TRUSTED_PROXIES", 0, maximum=10),
            public_schema=environ.boolean(
                variables, "AIVONX_PUBLIC_SCHEMA", default=bind.is_loopback
            ),
            job_retention_days=environ.integer(
                variables, "AIVONX_JOB_RETENTION_DAYS", 30, minimum=1, maximum=3_650
            ),
            log_format=environ.choice(
                variables, "AIVONX_LOG_FORMAT", "auto", ("auto", "json", "text")
            ),
            log_level=environ.choice(
                variables, "AIVONX_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")
            ),
        )


def read_or_exit(variables: Mapping[str, str]) -> Env:
    """Read the settings, or end the process with the one line that says what is wrong."""
    try:
        return Env.read(variables)
    except SettingError as error:
        sys.exit(f"aivonx: {error}")


def _redis_url(variables: Mapping[str, str]) -> str:
    url = environ.text(variables, "REDIS_URL", "redis://127.0.0.1:6379/0")
    if _scheme(url) not in {"redis", "rediss"}:
        raise SettingError("REDIS_URL", "must begin with redis:// or rediss://")
    if not _host("REDIS_URL", url):
        raise SettingError("REDIS_URL", "must name a host")
    return url


def _scheme(url: str) -> str:
    return url.partition("://")[0].lower()


def _host(name: str, url: str) -> str:
    """The host in a URL, "" for none. Half a URL is found out here, and not as a traceback of
    whatever library reads it later.
    """
    try:
        parts = urlsplit(url)
        is_port = parts.port != 0  # raises for what is no number or too large
    except ValueError as error:
        raise SettingError(name, "must be a URL with a host, and a port in digits") from error
    if not is_port:
        raise SettingError(name, "must not have port 0")
    return parts.hostname or ""


def _secret(variables: Mapping[str, str], name: str, *aliases: str) -> str:
    value = environ.text(variables, name, aliases=aliases)
    if len(value) < MIN_SECRET_LENGTH:
        raise SettingError(name, f"must have at least {MIN_SECRET_LENGTH} characters")
    return value


def _snapshot_key(variables: Mapping[str, str]) -> bytes:
    key = environ.text(variables, "AIVONX_SNAPSHOT_KEY").encode()
    if len(key) < wire.MIN_KEY_BYTES:
        raise SettingError("AIVONX_SNAPSHOT_KEY", f"must have at least {wire.MIN_KEY_BYTES} bytes")
    return key


def _fernet_keys(variables: Mapping[str, str]) -> tuple[str, ...]:
    keys = environ.items(variables, "AIVONX_NODE_TOKEN_KEYS")
    if not keys:
        raise SettingError("AIVONX_NODE_TOKEN_KEYS", "must be set")
    for key in keys:
        try:
            Fernet(key)
        except ValueError as error:
            raise SettingError(
                "AIVONX_NODE_TOKEN_KEYS",
                "each key must be 32 bytes in URL-safe base64, newest first, separated by commas",
            ) from error
    return keys


def _database(variables: Mapping[str, str], data_dir: Path) -> dict[str, Any]:
    url = environ.text(variables, "DATABASE_URL", f"sqlite:///{data_dir / 'control.sqlite3'}")
    match _scheme(url):
        case "sqlite":
            return _sqlite(django_environ.Env.db_url_config(url))
        case "postgres" | "postgresql" | "psql":
            _host("DATABASE_URL", url)  # none is a local socket
            return _postgresql(django_environ.Env.db_url_config(url))
    raise SettingError("DATABASE_URL", "must begin with postgresql:// or sqlite:///")


def _sqlite(config: dict[str, Any]) -> dict[str, Any]:
    """SQLite as several processes need it: without IMMEDIATE, WAL and a busy timeout it loses
    writes to "database is locked".
    """
    if config["NAME"] in {"", ":memory:"}:
        raise SettingError("DATABASE_URL", "must name a file, such as sqlite:////data/db.sqlite3")
    return {
        **config,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": SQLITE_BUSY_TIMEOUT_S,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
        },
    }


def _postgresql(config: dict[str, Any]) -> dict[str, Any]:
    if not config["NAME"]:
        raise SettingError("DATABASE_URL", "must name a database, such as /aivonx at its end")
    return {
        **config,
        "ENGINE": "control_plane.common.postgresql",
        "OPTIONS": {
            **config.get("OPTIONS", {}),
            "pool": {
                "min_size": 1,
                "max_size": POOL_SIZE,
                # So that an absent database is a clear answer and not a hanging request.
                "timeout": POOL_TIMEOUT_S,
                "max_lifetime": 1_800,
                # The pool's own attempts pause ever longer. Given up at once, the next request
                # makes a new one, and is served as soon as the server is back.
                "reconnect_timeout": 0.2,
            },
            "connect_timeout": 3,
            "options": (
                f"-c statement_timeout={STATEMENT_TIMEOUT_MS} -c lock_timeout={LOCK_TIMEOUT_MS}"
            ),
        },
    }
