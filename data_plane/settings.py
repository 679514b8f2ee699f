"""The settings of a data plane: from the environment, read once, a wrong value stops the start."""

from __future__ import annotations

import os
import re
import secrets
import socket
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from shared import environ as read
from shared.addresses import AddressPolicy, policy_read
from shared.registries import Registries, registries_read
from shared.wire import MIN_KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

_HOST: Final = re.compile(r"[A-Za-z0-9._-]+")

MAX_HEADER_BYTES: Final = 8_190
"""One header line; longer ones are refused by the parser (431). Enough for any token or cookie."""

MAX_HEADERS: Final = 128

MAX_HEAD_BYTES: Final = 64 * 1024
"""All header lines of a request together (431)."""

KEEPALIVE_TIMEOUT_S: Final = 20.0
"""An idle or half-sent request holds its connection this long. SDKs reconnect without a thought."""

LINGERING_S: Final = 5.0
"""How long the rest of a refused body is read and dropped, for the client to see our answer."""

BODY_DEADLINE_S: Final = 30.0
"""For a body to arrive (408), plus `BODY_DEADLINE_PER_BYTE_S` for what was declared."""

BODY_DEADLINE_PER_BYTE_S: Final = 1.0 / (1024 * 1024)
"""A client that declares 100 MiB gets 100 s more: 1 MiB/s, the slowest uplink we care about."""

HELD_BODY_BYTES: Final = 4 * 1024 * 1024
"""Larger request bodies go to disk on their way: a few photographs stay in memory, and a client
that sends hundreds of megabytes costs some hundred kilobytes of it."""

LISTEN_BACKLOG: Final = 1_024

UPSTREAM_READ_BUFFER_BYTES: Final = 64 * 1024
"""Reading from a node pauses at twice this; one socket read more, and a stream holds < 512 KiB."""

HELD_ANSWER_BYTES: Final = 1024 * 1024
"""A non-streaming answer is held up to this size, so that a node dying inside it is retried."""

MAX_BAD_KEYS_PER_MINUTE: Final = 50
"""From one address, at one worker; beyond it wrong keys get 429. Good keys still work."""

MIN_MEMORY_BYTES: Final = 64 * 1024 * 1024
"""Of each worker. An idle one takes some 45 MiB: less would refuse everything, and is a slip."""

RETRY_BUDGET: Final = 0.2
"""Share of the requests in flight that may be retries at one time (Envoy's default), at least 3:
when everything fails, retrying everything makes it worse."""

RETRY_BUDGET_MINIMUM: Final = 3


MAX_WORKERS: Final = 64
"""Of one data plane. A worker is worth a core; more than 64 of them is another design."""


@dataclass(frozen=True, slots=True)
class Settings:
    """Everything that the environment decides. Durations `_s`, sizes `_bytes`."""

    proxy_bind: read.Bind
    metrics_bind: read.Bind
    data_dir: Path
    redis_url: str = field(repr=False)
    snapshot_key: bytes = field(repr=False)
    node_token_keys: tuple[str, ...] = field(repr=False)
    address_policy: AddressPolicy
    max_body_bytes: int
    body_budget_bytes: int
    spool_budget_bytes: int
    max_active: int
    max_connections: int
    max_memory_bytes: int | None
    slow_start_s: float
    drain_timeout_s: float
    drain_delay_s: float
    sync_interval_s: float
    report_interval_s: float
    log_format: str
    log_level: str
    origins: tuple[str, ...]
    hosts: tuple[str, ...]
    registries: Registries
    instance: str
    workers: int


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings; raises `SettingError`, which names the variable and what is accepted."""
    return Settings(
        proxy_bind=read.bind(environ, "AIVONX_PROXY_BIND", "127.0.0.1:11435"),
        metrics_bind=read.bind(environ, "AIVONX_METRICS_BIND", "127.0.0.1:9435"),
        data_dir=Path(read.text(environ, "AIVONX_DATA_DIR", "./var")),
        redis_url=_redis_url(environ),
        snapshot_key=_snapshot_key(environ),
        node_token_keys=read.items(environ, "AIVONX_NODE_TOKEN_KEYS"),
        address_policy=policy_read(environ),
        max_body_bytes=read.integer(
            environ, "AIVONX_MAX_BODY_BYTES", 100 * 1024 * 1024, minimum=1_024
        ),
        body_budget_bytes=read.integer(
            environ, "AIVONX_BODY_BUDGET_BYTES", 512 * 1024 * 1024, minimum=1_024
        ),
        spool_budget_bytes=read.integer(
            environ, "AIVONX_SPOOL_BUDGET_BYTES", 8 * 1024 * 1024 * 1024, minimum=1_024
        ),
        max_active=read.integer(environ, "AIVONX_MAX_ACTIVE", 10_000, minimum=1),
        max_connections=read.integer(environ, "AIVONX_MAX_CONNECTIONS", 20_000, minimum=1),
        max_memory_bytes=_max_memory_bytes(environ),
        slow_start_s=read.number(environ, "AIVONX_SLOW_START_S", 10.0),
        drain_timeout_s=read.number(environ, "AIVONX_DRAIN_TIMEOUT_S", 120.0),
        drain_delay_s=read.number(environ, "AIVONX_DRAIN_DELAY_S", 0.0),
        sync_interval_s=read.number(environ, "AIVONX_SYNC_INTERVAL_S", 10.0, minimum=0.05),
        report_interval_s=read.number(
            environ, "AIVONX_REPORT_INTERVAL_S", 1.0, minimum=0.05, maximum=5.0
        ),
        log_format=read.choice(environ, "AIVONX_LOG_FORMAT", "auto", ("auto", "json", "text")),
        log_level=read.choice(
            environ, "AIVONX_LOG_LEVEL", "INFO", ("DEBUG", "INFO", "WARNING", "ERROR")
        ),
        origins=read.items(environ, "AIVONX_ORIGINS"),
        hosts=_hosts(environ),
        registries=registries_read(environ),
        instance=read.text(environ, "AIVONX_INSTANCE", "") or _unique_instance(),
        workers=_workers(environ),
    )


def _hosts(environ: Mapping[str, str]) -> tuple[str, ...]:
    names = read.items(environ, "AIVONX_HOSTS")
    for name in names:
        if not _HOST.fullmatch(name):
            raise read.SettingError(
                "AIVONX_HOSTS", "must be host names without scheme or port, as proxy.lan"
            )
    return names


def _redis_url(environ: Mapping[str, str]) -> str:
    url = read.text(environ, "REDIS_URL")
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise read.SettingError("REDIS_URL", "must begin with redis://, rediss:// or unix://")
    return url


def _snapshot_key(environ: Mapping[str, str]) -> bytes:
    key = read.text(environ, "AIVONX_SNAPSHOT_KEY").encode()
    if len(key) < MIN_KEY_BYTES:
        raise read.SettingError("AIVONX_SNAPSHOT_KEY", f"must have at least {MIN_KEY_BYTES} bytes")
    return key


def _max_memory_bytes(environ: Mapping[str, str]) -> int | None:
    name = "AIVONX_MAX_MEMORY_BYTES"
    if not read.text(environ, name, ""):
        return None
    wanted, least = read.integer(environ, name, 0), MIN_MEMORY_BYTES * _workers(environ)
    if 0 < wanted < least:
        raise read.SettingError(
            name, f"must be 0 (memory is not watched) or at least {least}, not {wanted}"
        )
    return wanted


def _workers(environ: Mapping[str, str]) -> int:
    name = "AIVONX_WORKERS"
    if read.text(environ, name, "1").lower() == "auto":
        return min(len(os.sched_getaffinity(0)), MAX_WORKERS)
    try:
        return read.integer(environ, name, 1, minimum=1, maximum=MAX_WORKERS)
    except read.SettingError as error:
        raise read.SettingError(name, f"must be auto or from 1 to {MAX_WORKERS}") from error


def _unique_instance() -> str:
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
