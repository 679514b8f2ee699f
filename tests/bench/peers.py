"""Everybody who is measured: how each is started in front of the same fleet.

A peer is a function from a place (stage, work directory, the fleet's ports) to a Target. Each gets
what its manual recommends for streaming and no more work than that: no log, no key check, the
cheapest policy it has where least connections is not offered.
"""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import provide
from stage import AbsentError, Process, Stage, free_port, wait_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

OURS = "aivonx"
BASE = "nginx"
NATIVE = "/api/chat"
OPENAI = "/v1/chat/completions"
START_S = 20.0
SLOW_START_S = 60.0  # litellm reads 700 MB of packages
MAX_CONNECTIONS = 16384  # 5,000 streams take two each
SNAPSHOT_KEY = "the snapshot key of the benchmark"
MODELS = 50  # on each node


@dataclass(frozen=True)
class Target:
    """A proxy that runs: where it listens, and what it wants to hear."""

    process: Process
    port: int
    path: str = NATIVE
    key: str = "none"


@dataclass(frozen=True)
class Ground:
    """What every peer stands on."""

    stage: Stage
    workdir: Path
    ports: tuple[int, ...]
    redis_url: str
    tree: Path


def ours(ground: Ground) -> Target:
    """The data plane of `tree`, everything on: key, choice, leases, metrics, access lines."""
    imports = {"PYTHONPATH": str(ground.tree)}
    publisher = [
        sys.executable, str(provide.ROOT / "tests/bench/publish.py"), ground.redis_url,
        SNAPSHOT_KEY, str(MODELS), *map(str, ground.ports),
    ]  # fmt: skip
    published = subprocess.run(
        publisher, env={**os.environ, **imports}, capture_output=True, text=True, check=False
    )
    if published.returncode:
        raise AbsentError(f"{OURS}: no snapshot: {published.stderr.strip()[-200:]}")
    port, metrics_port = free_port(), free_port()
    process = ground.stage.start(
        OURS,
        [sys.executable, "-m", "data_plane"],
        core=ground.stage.cores.proxy,
        cwd=ground.tree,
        environment={
            **imports,
            "REDIS_URL": ground.redis_url,
            "AIVONX_SNAPSHOT_KEY": SNAPSHOT_KEY,
            "AIVONX_PROXY_BIND": f"127.0.0.1:{port}",
            "AIVONX_METRICS_BIND": f"127.0.0.1:{metrics_port}",
            "AIVONX_DATA_DIR": str(ground.workdir / f"var-{port}"),
            "AIVONX_LOG_FORMAT": "json",
            "AIVONX_WORKERS": "1",
            "AIVONX_DRAIN_TIMEOUT_S": "1",
        },
    )
    wait_for(process, metrics_port, "/readyz", START_S)
    return Target(process, port, key=published.stdout.strip())


def nginx(ground: Ground) -> Target:
    """Least connections, keep-alive, nothing buffered. One process: it dies with us."""
    port, workdir = free_port(), ground.workdir
    servers = " ".join(f"server 127.0.0.1:{node};" for node in ground.ports)
    paths = " ".join(
        f"{name}_temp_path {workdir}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = workdir / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; pid {workdir}/nginx.pid; error_log stderr crit;
events {{ worker_connections {MAX_CONNECTIONS}; }}
http {{
  access_log off; {paths}
  upstream nodes {{ least_conn; {servers} keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000; client_max_body_size 0;
    location / {{
      proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
""")
    command = [provide.program("nginx"), "-c", str(config), "-p", str(workdir), "-e", "stderr"]
    return started(ground, "nginx", command, port, ready="/api/version")


def haproxy(ground: Ground) -> Target:
    """Least connections, connections shared between clients, every chunk sent at once."""
    port = free_port()
    servers = "\n".join(
        f"  server n{number} 127.0.0.1:{node}" for number, node in enumerate(ground.ports)
    )
    config = ground.workdir / "haproxy.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn {MAX_CONNECTIONS // 2}
defaults
  mode http
  timeout connect 5s
  timeout client 600s
  timeout server 600s
  option http-no-delay
  http-reuse always
frontend in
  bind 127.0.0.1:{port} backlog 4096
  default_backend nodes
backend nodes
  balance leastconn
{servers}
""")
    command = [provide.program("haproxy"), "-db", "-f", str(config)]
    return started(ground, "haproxy", command, port, ready="/api/version")


def caddy(ground: Ground) -> Target:
    """Least connections, flushed at once."""
    port = free_port()
    upstreams = " ".join(f"127.0.0.1:{node}" for node in ground.ports)
    config = ground.workdir / "Caddyfile"
    config.write_text(f"""
{{
  admin off
  auto_https off
  persist_config off
  log {{
    level ERROR
  }}
}}
http://127.0.0.1:{port} {{
  reverse_proxy {upstreams} {{
    lb_policy least_conn
    flush_interval -1
    transport http {{
      keepalive_idle_conns 1024
      keepalive_idle_conns_per_host 512
    }}
  }}
}}
""")
    command = [
        str(provide.environment("caddy") / "caddy"), "run",
        "--config", str(config), "--adapter", "caddyfile",
    ]  # fmt: skip
    return started(ground, "caddy", command, port, ready="/api/version")


def smg(ground: Ground) -> Target:
    """Round robin, no tokenizer, no history, no load monitor."""
    port = free_port()
    command = [
        str(provide.environment("smg") / "smg"), "launch", "--host", "127.0.0.1",
        "--port", str(port), "--prometheus-port", str(free_port()),
        "--worker-urls", *_urls(ground), "--policy", "round_robin", "--backend", "openai",
        "--log-level", "error", "--disable-load-monitoring", "--disable-tokenizer-autoload",
        "--history-backend", "none", "--max-concurrent-requests", str(MAX_CONNECTIONS),
    ]  # fmt: skip
    return started(ground, "smg", command, port, ready="/readiness", path=OPENAI)


def vllm_router(ground: Ground) -> Target:
    """Round robin."""
    port = free_port()
    command = [
        str(provide.environment("vllm-router") / "vllm-router"), "--host", "127.0.0.1",
        "--port", str(port), "--prometheus-port", str(free_port()),
        "--worker-urls", *_urls(ground), "--policy", "round_robin", "--log-level", "error",
        "--max-concurrent-requests", str(MAX_CONNECTIONS),
    ]  # fmt: skip
    return started(ground, "vllm-router", command, port, ready="/readiness", path=OPENAI)


def litellm(ground: Ground) -> Target:
    """One worker, a deployment for each node, the master key (it refuses to go without)."""
    port, key = free_port(), f"sk-{secrets.token_hex(24)}"
    deployment = {"model": "openai/m", "api_key": "none"}
    config = ground.workdir / "litellm.json"  # JSON is YAML
    models = [
        {"model_name": "m", "litellm_params": {**deployment, "api_base": f"{url}/v1"}}
        for url in _urls(ground)
    ]
    config.write_text(json.dumps({"model_list": models, "general_settings": {"master_key": key}}))
    command = [
        str(provide.environment("litellm") / "litellm"), "--config", str(config),
        "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1", "--telemetry", "False",
    ]  # fmt: skip
    target = started(
        ground,
        "litellm",
        command,
        port,
        ready="/health/liveliness",
        path=OPENAI,
        deadline_s=SLOW_START_S,
    )
    return replace(target, key=key)


STARTERS: dict[str, Callable[[Ground], Target]] = {
    BASE: nginx,
    OURS: ours,  # beside nginx, so that what the machine does meanwhile hits both
    "haproxy": haproxy,
    "caddy": caddy,
    "smg": smg,
    "vllm-router": vllm_router,
    "litellm": litellm,
}
SLOW = {"litellm"}  # a hundred times slower: fewer streams, or nothing but its queue is measured


def _urls(ground: Ground) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in ground.ports]


def started(
    ground: Ground,
    name: str,
    command: list[str],
    port: int,
    *,
    ready: str,
    path: str = NATIVE,
    deadline_s: float = START_S,
) -> Target:
    process = ground.stage.start(
        name,
        command,
        core=ground.stage.cores.proxy,
        environment={
            **provide.libraries(),
            # Nobody writes into the home of whoever measures, or asks the network for anything.
            "HOME": str(ground.workdir),
            "XDG_DATA_HOME": str(ground.workdir),
            "XDG_CONFIG_HOME": str(ground.workdir),
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
            "LITELLM_LOG": "ERROR",
            "HF_HUB_OFFLINE": "1",
        },
    )
    wait_for(process, port, ready, deadline_s)
    return Target(process, port, path)
