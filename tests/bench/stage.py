"""The parts of a measurement: fake node, Valkey with a snapshot, data plane, nginx.

Everything listens on loopback at ports that were free, is pinned to a core, and ended by `stop`.
"""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from shared import credentials, keys, wire
from shared.model_names import canonical_name
from shared.snapshot import (
    ApiKey,
    AvailableModel,
    Model,
    Node,
    ProxyConfig,
    Snapshot,
    Verdict,
)

ROOT = Path(__file__).parents[2]
TOOLS = Path(__file__).parent / "tools"
SNAPSHOT_KEY = "the snapshot key of the benchmark"
CHUNKS = 200
CHUNK_INTERVAL_US = 20_000
PROXY_CORE = 1
LOAD_CORE = 0
NODES = 50
MODELS_PER_NODE = 50


class AbsentError(Exception):
    """A part that this machine does not have."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tool(name: str) -> str:
    """The path of a program, or AbsentError."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        raise AbsentError(name)
    return path


def build_tools(into: Path) -> None:
    """Compile the C tools."""
    compiler = tool("cc")
    for name in ("fastnode", "streamload"):
        subprocess.run([compiler, "-O2", "-w", "-o", into / name, TOOLS / f"{name}.c"], check=True)


@dataclass
class Stage:
    """What runs, so that it can be ended whatever happens."""

    workdir: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: list[str], core: int, **environment: str) -> subprocess.Popen[bytes]:
        """Start a part on one core, its output in a log of the work directory."""
        taskset = [tool("taskset"), "-c", str(core)] if (os.cpu_count() or 1) > 1 else []
        log = (self.workdir / f"{Path(command[0]).name}.log").open("ab")
        process = subprocess.Popen(
            [*taskset, *command],
            env={**os.environ, **environment},
            cwd=ROOT,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    def stop(self) -> None:
        """End every part, the last one first."""
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_for(port: int, path: str, deadline_s: float = 15.0) -> None:
    """Until a GET answers 200."""
    end = time.monotonic() + deadline_s
    while time.monotonic() < end:
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1)
            connection.request("GET", path)
            if connection.getresponse().status == http.HTTPStatus.OK:
                return
        except OSError:
            pass
        time.sleep(0.05)
    msg = f"nothing answers 200 at port {port}{path}"
    raise TimeoutError(msg)


def fast_node(stage: Stage) -> int:
    """Start the fake node; its port."""
    port = free_port()
    command = [str(stage.workdir / "fastnode"), str(port), str(CHUNKS), str(CHUNK_INTERVAL_US)]
    stage.start(command, LOAD_CORE)
    wait_for(port, "/api/version")
    return port


def nginx(stage: Stage, node_port: int) -> tuple[subprocess.Popen[bytes], int]:
    """Start nginx in front of the node."""
    port = free_port()
    config = stage.workdir / "nginx.conf"
    config.write_text(f"""
daemon off; worker_processes 1; pid {stage.workdir}/nginx.pid; error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  client_body_temp_path {stage.workdir}/body; proxy_temp_path {stage.workdir}/proxy;
  fastcgi_temp_path {stage.workdir}/f; uwsgi_temp_path {stage.workdir}/u;
  scgi_temp_path {stage.workdir}/s;
  upstream nodes {{ least_conn; server 127.0.0.1:{node_port}; keepalive 512; }}
  server {{
    listen 127.0.0.1:{port} backlog=4096; keepalive_requests 1000000;
    location / {{
      proxy_pass http://nodes; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_read_timeout 600s;
    }}
  }}
}}
""")
    process = stage.start([tool("nginx"), "-c", str(config), "-p", str(stage.workdir)], PROXY_CORE)
    wait_for(port, "/api/version")
    return process, port


def data_plane(
    stage: Stage, node_port: int, redis_url: str
) -> tuple[subprocess.Popen[bytes], int, str]:
    """Start the data plane on a published snapshot; its process, port and the key to use."""
    import redis

    key = credentials.mint()
    client = redis.Redis.from_url(redis_url)
    client.set(keys.SNAPSHOT, wire.seal(_snapshot(node_port, key), SNAPSHOT_KEY.encode()))
    client.close()
    port, metrics_port = free_port(), free_port()
    process = stage.start(
        [sys.executable, "-m", "data_plane"],
        PROXY_CORE,
        REDIS_URL=redis_url,
        AIVONX_SNAPSHOT_KEY=SNAPSHOT_KEY,
        AIVONX_PROXY_BIND=f"127.0.0.1:{port}",
        AIVONX_METRICS_BIND=f"127.0.0.1:{metrics_port}",
        AIVONX_DATA_DIR=str(stage.workdir / "var"),
        AIVONX_LOG_FORMAT="json",
    )
    wait_for(metrics_port, "/readyz")
    return process, port, key.text


def _snapshot(node_port: int, key: credentials.MintedKey) -> Snapshot:
    """Fifty nodes with fifty models each; the one asked for is on the fake node only."""
    names = ["m:latest", *(f"other-{number}:latest" for number in range(1, MODELS_PER_NODE))]
    models = tuple(
        Model(name=name, canonical=canonical_name(name), digest=f"{number:064x}", size_bytes=1)
        for number, name in enumerate(names)
    )
    elsewhere = tuple(AvailableModel(n, "2026-01-01T00:00:00Z") for n in range(1, len(names)))
    nodes = [
        Node(
            id=f"node-{number}",
            name=f"node-{number}",
            address=f"http://127.0.0.1:{node_port}",
            verdict=Verdict.HEALTHY,
            version="0.33.0",
            available=elsewhere,
        )
        for number in range(NODES)
    ]
    holder = (AvailableModel(0, "2026-01-01T00:00:00Z"), *elsewhere)
    nodes[0] = Node(
        id="node-0",
        name="node-0",
        address=f"http://127.0.0.1:{node_port}",
        verdict=Verdict.HEALTHY,
        version="0.33.0",
        available=holder,
    )
    return Snapshot(
        epoch="bench",
        revision=1,
        built_at=time.time(),
        config=ProxyConfig(),
        models=models,
        nodes=tuple(nodes),
        keys=(ApiKey(id=key.id, sha256=key.sha256),),
    )
