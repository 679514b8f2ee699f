"""Everybody who is compared on real sockets: how each is started in front of its own cluster.

Beside `bench/peers.py`, which starts the same programs for what they cost: here each has its best
documented settings for choosing well. All are told the same: addresses, and the slots of nodes
where a setting takes them. Ours is told no slots.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec
import peers
import provide
import redis
from fakes.snapshots import digest_of, make_model, make_snapshot
from peers import Ground, Target
from routing.load import NATIVE, OPENAI
from routing.scenarios import holders_of
from stage import AbsentError, free_port, wait_for

from shared import credentials, keys, wire
from shared.snapshot import ApiKey, ProxyConfig, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from routing.scenarios import Scenario

    from shared.snapshot import Model

SNAPSHOT_KEY: Final = "the snapshot key of the benchmark"
QUEUE_S: Final = 600


@dataclass(frozen=True)
class Place(Ground):
    """A ground whose ports are a scenario's nodes, in its order."""

    scenario: Scenario

    @property
    def slots(self) -> list[int]:
        """Of each node."""
        return [preset.slots for _, preset in self.scenario.nodes]


@dataclass(frozen=True)
class Contender:
    """Who, how it is started, and which rule of the simulator says what it does."""

    name: str
    start: Callable[[Place], Target]
    rule: str
    path: str = OPENAI


def nginx(place: Place) -> Target:
    """least_conn with a zone, keep-alive, nothing buffered."""
    port, workdir = free_port(), place.workdir
    servers = " ".join(f"server 127.0.0.1:{node} max_fails=0;" for node in place.ports)
    paths = " ".join(
        f"{name}_temp_path {workdir}/{name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    config = workdir / "nginx.conf"
    config.write_text(f"""
daemon off; master_process off; pid {workdir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 4096; }}
http {{
  access_log off; {paths}
  upstream nodes {{ zone nodes 256k; least_conn; {servers} keepalive 64; }}
  server {{
    listen 127.0.0.1:{port}; client_max_body_size 0; client_body_buffer_size 1m;
    location / {{
      proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout {QUEUE_S}s;
    }}
  }}
}}
""")
    command = [provide.program("nginx"), "-c", str(config), "-p", str(workdir), "-e", "stderr"]
    return peers.started(place, "nginx", command, port, ready="/api/version")


def haproxy(place: Place) -> Target:
    """leastconn."""
    return _haproxy(place, "haproxy", [""] * len(place.ports))


def haproxy_held(place: Place) -> Target:
    """leastconn with as many requests at a node as it has slots; the others wait in HAProxy."""
    return _haproxy(place, "haproxy-held", [f" maxconn {slots}" for slots in place.slots])


def _haproxy(place: Place, name: str, limits: list[str]) -> Target:
    port = free_port()
    servers = "\n".join(
        f"  server n{number} 127.0.0.1:{node}{limit}"
        for number, (node, limit) in enumerate(zip(place.ports, limits, strict=True))
    )
    config = place.workdir / f"{name}.cfg"
    config.write_text(f"""
global
  nbthread 1
  maxconn 4096
defaults
  mode http
  timeout connect 5s
  timeout client {QUEUE_S}s
  timeout server {QUEUE_S}s
  timeout queue {QUEUE_S}s
  option http-no-delay
  http-reuse always
frontend in
  bind 127.0.0.1:{port}
  default_backend nodes
backend nodes
  balance leastconn
{servers}
""")
    command = [provide.program("haproxy"), "-db", "-f", str(config)]
    return peers.started(place, name, command, port, ready="/api/version")


def vllm_router(place: Place) -> Target:
    """cache_aware, as it is shipped."""
    port = free_port()
    command = [
        str(provide.environment("vllm-router") / "vllm-router"), "--host", "127.0.0.1",
        "--port", str(port), "--prometheus-port", str(free_port()),
        "--worker-urls", *_urls(place), "--policy", "cache_aware", "--log-level", "error",
    ]  # fmt: skip
    return peers.started(place, "vllm-router", command, port, ready="/readiness", path=OPENAI)


def smg(place: Place) -> Target:
    """cache_aware, as it is shipped."""
    return _smg(place, "cache_aware")


def smg_two(place: Place) -> Target:
    """The less busy of two that the dice chose."""
    return _smg(place, "power_of_two")


def _smg(place: Place, policy: str) -> Target:
    if len(place.scenario.models) > 1:
        raise AbsentError("smg: a worker has one model, and these nodes have several")
    port = free_port()
    command = [
        str(provide.environment("smg") / "smg"), "launch", "--host", "127.0.0.1",
        "--port", str(port), "--prometheus-port", str(free_port()),
        "--worker-urls", *_urls(place), "--policy", policy,
        "--log-level", "error", "--disable-tokenizer-autoload", "--history-backend", "none",
    ]  # fmt: skip
    return peers.started(place, f"smg-{policy}", command, port, ready="/readiness", path=OPENAI)


def _ours(strategy: Strategy, path: str) -> Callable[[Place], Target]:
    def start(place: Place) -> Target:
        key = credentials.mint()
        client = redis.Redis.from_url(place.redis_url)
        snapshot = fleet(place, strategy, ApiKey(id=key.id, sha256=key.sha256))
        client.set(keys.SNAPSHOT, wire.seal(snapshot, SNAPSHOT_KEY.encode()))
        client.close()
        return replace(data_plane(place), path=path, key=key.text)

    return start


def data_plane(place: Place) -> Target:
    """Ours as it is shipped, one worker."""
    port, metrics_port = free_port(), free_port()
    process = place.stage.start(
        f"aivonx-{port}",
        [sys.executable, "-m", "data_plane"],
        core=place.stage.cores.proxy,
        cwd=place.tree,
        environment={
            "PYTHONPATH": str(place.tree),
            "REDIS_URL": place.redis_url,
            "AIVONX_SNAPSHOT_KEY": SNAPSHOT_KEY,
            "AIVONX_PROXY_BIND": f"127.0.0.1:{port}",
            "AIVONX_METRICS_BIND": f"127.0.0.1:{metrics_port}",
            "AIVONX_DATA_DIR": str(place.workdir / "var"),
            "AIVONX_LOG_FORMAT": "json",
            "AIVONX_WORKERS": "1",
            "AIVONX_DRAIN_TIMEOUT_S": "1",
        },
    )
    wait_for(process, metrics_port, "/readyz", peers.START_S)
    return Target(process, port)


def fleet(place: Place, strategy: Strategy, key: ApiKey) -> msgspec.Struct:
    """The scenario's nodes as a control plane knows them: what each holds, and its size."""
    scenario = place.scenario
    held: dict[str, list[str | Model | tuple[str | Model, str]]] = {
        name: [] for name, _ in scenario.nodes
    }
    for model in scenario.models:
        made = make_model(model.name, digest=digest_of(model.name), size_bytes=int(model.size))
        for name in holders_of(scenario, model):
            held[name].append(made)
    addresses = {
        name: {"address": f"http://127.0.0.1:{port}"}
        for (name, _), port in zip(scenario.nodes, place.ports, strict=True)
    }
    return msgspec.structs.replace(
        make_snapshot(held, fields=addresses, keys=(key,)),
        epoch=f"bench-{time.time_ns()}",
        built_at=time.time(),
        config=ProxyConfig(strategy=strategy, explain=True),
    )


def _urls(place: Place) -> list[str]:
    return [f"http://127.0.0.1:{port}" for port in place.ports]


CONTENDERS: Final = (
    Contender("nginx least_conn", nginx, "least_conn"),
    Contender("haproxy leastconn", haproxy, "least_conn"),
    Contender("haproxy maxconn", haproxy_held, "least_conn, held"),
    Contender("caddy least_conn", peers.caddy, "least_conn"),
    Contender("vllm-router cache_aware", vllm_router, "cache_aware"),
    Contender("smg cache_aware", smg, "cache_aware"),
    Contender("smg power_of_two", smg_two, "two_choices"),
    *(
        Contender(f"aivonx {strategy.value}", _ours(strategy, OPENAI), f"ours: {strategy.value}")
        for strategy in (Strategy.LEAST_ACTIVE, Strategy.LOWEST_LATENCY, Strategy.PREDICTED)
    ),
    Contender(
        "aivonx predicted, /api",
        _ours(Strategy.PREDICTED, NATIVE),
        "ours: predicted",
        NATIVE,
    ),
)
