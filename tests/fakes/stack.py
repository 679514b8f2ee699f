"""The whole system as real processes: Valkey, database, control plane, worker, data planes, nodes.

One `Stack` is started once and shared by many scenarios. A scenario may break anything; `reset`
repairs it, so that each one begins with everything up, no nodes, no keys and the fast config.
Every process has the port that the kernel chose at first for life, so that it comes back in place.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

import httpx2
import msgspec
import redis
from fakes.api import ControlApi
from fakes.node_process import NodeProcess
from fakes.plane import MODEL, START_S, DataPlane
from fakes.processes import Process, eventually, free_port, is_listening

from data_plane import native
from deploy.local import engine
from shared import keys, wire

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from fakes.database import Database
    from fakes.raw import RawStream

ROOT: Final = Path(__file__).resolve().parents[2]
APPLY_S: Final = 2.0
"""The promise: what the API accepted is in force on every data plane after this."""

RECOVER_S: Final = 30.0
"""For everything to be as before after the worst that a scenario may do."""

GROUP: Final = 4
"""Workers of the data plane that has several."""

HELD_EACH: Final = 6
"""More than the retry budget allows at least: a node's death must not be stopped by it."""

PASSWORD: Final = "canary-password-Zk4!pq"
SECRETS: Final = {
    "AIVONX_ADMIN_PASSWORD": PASSWORD,
    "AIVONX_SECRET_KEY": "canary-secret-key-" + "s" * 50,
    "AIVONX_JWT_KEY": "canary-jwt-key-" + "j" * 50,
    "AIVONX_SNAPSHOT_KEY": "canary-snapshot-key-" + "h" * 32,
    "AIVONX_NODE_TOKEN_KEYS": "Y2FuYXJ5LW5vZGUtdG9rZW4ta2V5LTAxMjM0NTY3ODk=",
}
SNAPSHOT_KEY: Final = SECRETS["AIVONX_SNAPSHOT_KEY"].encode()

FAST_CONFIG: Final = {
    "strategy": "least_active",
    "health_interval_s": 2,
    "model_refresh_interval_s": 2,
    "probe_interval_s": 0.3,
    "probe_timeout_s": 0.5,
    "connect_timeout_s": 0.5,
    "fall": 3,
    "rise": 2,
}
"""The shipped config with the waits cut to what a test run can afford."""


class Stack:
    """Everything, started in order. Use it as a context manager."""

    def __init__(self, directory: Path, database: Database) -> None:
        self.directory = directory
        self.database = database
        self._engine = engine.prepare(directory / "valkey")
        self.redis_url = self._engine.url
        self.control_port = free_port()
        self._exits = ExitStack()
        self._processes: list[Process] = []
        self.environment = self._environment()
        self.redis = redis.Redis.from_url(self.redis_url, socket_timeout=5)
        self.valkey = self._adopt("valkey", list(self._engine.command), self.environment)
        self.control = self._control()
        self.worker = self.worker_named("worker")
        self.api = ControlApi(self.control_port, PASSWORD)
        self.plane = DataPlane(self, "a")
        self._second: DataPlane | None = None
        self._group: DataPlane | None = None
        self._nodes: list[NodeProcess] = []
        self._lent: list[NodeProcess] = []
        self._changes = 0

    def _environment(self) -> dict[str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.directory),
            "LANG": "C.UTF-8",
            native.SETTING: "on" if native.is_used() else "off",
            "PYTHONUNBUFFERED": "1",
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database.url,
            "AIVONX_CONTROL_BIND": f"127.0.0.1:{self.control_port}",
            "AIVONX_DATA_DIR": str(self.directory / "control"),
            "AIVONX_NODE_FORBIDDEN_PORTS": f"{self._engine.port},{self.control_port}",
            "AIVONX_LOG_FORMAT": "json",
            **SECRETS,
        }
        (self.directory / "control").mkdir(exist_ok=True)
        return environment

    def process(
        self, name: str, arguments: Sequence[str], environment: dict[str, str] | None = None
    ) -> Process:
        """A Python process of this system, not started yet; it is ended with the stack."""
        return self._adopt(name, [sys.executable, *arguments], environment or self.environment)

    def _adopt(self, name: str, command: list[str], environment: dict[str, str]) -> Process:
        logs = self.directory / "logs"
        logs.mkdir(exist_ok=True)
        process = Process(name, command, environment, logs / f"{name}.log", ROOT)
        self._processes.append(process)
        self._exits.callback(process.stop)
        return process

    def _control(self) -> Process:
        arguments = ["-m", "gunicorn", "control_plane.config.wsgi:application"]
        return self.process("control", [*arguments, "-c", "deploy/local/gunicorn.conf.py"])

    def worker_named(self, name: str) -> Process:
        """A Celery worker with its beat, not started yet."""
        arguments = ["-m", "celery", "--app", "control_plane.config.celery", "worker"]
        arguments += ["--pool", "threads", "--concurrency", "4", "--without-mingle"]
        arguments += ["--without-gossip", "--hostname", f"{name}@stack", "--loglevel", "INFO"]
        return self.process(name, arguments)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exits.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.api.close()
        self.redis.close()
        self._exits.close()

    def _start(self) -> None:
        self.start_valkey()
        for name in ("migrate", "bootstrap"):
            step = self.process(name, ["control_plane/manage.py", name])
            step.start()
            assert step.exit_code(120) == 0, step.tail()
        self.control.start()
        self.worker.start()
        self.plane.start()
        self._await_control()

    def start_valkey(self) -> None:
        """Start Valkey and wait until it has read its file and answers."""
        self.valkey.start()
        eventually("Valkey answers", self._engine.answers, START_S)

    def start_control(self) -> None:
        """Start the control plane and wait until it answers."""
        self.control.start()
        self._await_control()

    def _await_control(self) -> None:
        def is_up() -> bool:
            assert self.control.is_running, self.control.tail()
            return is_listening(self.control_port)

        eventually("the control plane listens", is_up, START_S)

    def start_worker(self) -> None:
        """Start the worker and wait until it takes work.

        Its schedule may be silent for another ten seconds: a killed beat keeps its lock that long.
        """
        mark = self.worker.log.stat().st_size
        self.worker.start()
        log = self.worker.log
        eventually("the worker is ready", lambda: b"ready." in log.read_bytes()[mark:], START_S)

    def await_sweep(self, since: float) -> None:
        """Wait for a sweep that finished after this (unix) instant."""
        eventually("a sweep finished", lambda: self.swept_at() > since, RECOVER_S)

    @property
    def second_plane(self) -> DataPlane:
        """A second data plane beside the first, started when a scenario asks for it."""
        if self._second is None:
            self._second = DataPlane(self, "b")
        if not self._second.process.is_running:
            self._second.start()
        return self._second

    @property
    def group(self) -> DataPlane:
        """A data plane of GROUP workers, started when a scenario asks for it, and all ready."""
        if self._group is None:
            self._group = DataPlane(self, "g", AIVONX_WORKERS=str(GROUP))
        group = self._group
        if not group.process.is_running:
            group.start()
        eventually("all workers are ready", lambda: workers_ready(group) == GROUP, START_S)
        return group

    def planes(self) -> list[DataPlane]:
        """Those that run."""
        known = [plane for plane in (self.plane, self._second, self._group) if plane is not None]
        return [plane for plane in known if plane.process.is_running]

    def node(self, *models: str) -> NodeProcess:
        """A fake node that runs, with these models; it is not registered yet."""
        spare = [node for node in self._nodes if node not in self._lent]
        node = spare[0] if spare else self._new_node()
        self._lent.append(node)
        node.prepare(models or (MODEL,))
        return node

    def _new_node(self) -> NodeProcess:
        node = NodeProcess()
        self._nodes.append(node)
        self._exits.callback(node.kill)
        return node

    def serving_node(self, *models: str, **fields: object) -> NodeProcess:
        """A fake node that is registered and that every data plane may use."""
        node = self.node(*models)
        node.id = self.api.node_add(f"node-{node.port}", node.url, **fields)["id"]
        self.await_applied()
        return node

    def published(self) -> tuple[str, int]:
        """Epoch and revision of the snapshot in Redis; ("", 0) when there is no valid one."""
        try:
            snapshot = wire.open_sealed(bytes(self.redis.get(keys.SNAPSHOT) or b""), SNAPSHOT_KEY)
        except wire.RefusedError:
            return "", 0
        return snapshot.epoch, snapshot.revision

    def with_revision_added(self, sealed: bytes, *, revokes_keys: bool = False) -> bytes:
        """The same snapshot as its own successor, as only the holder of the key can write it."""
        snapshot = wire.open_sealed(sealed, SNAPSHOT_KEY)
        api_keys = snapshot.keys
        if revokes_keys:
            api_keys = tuple(msgspec.structs.replace(key, enabled=False) for key in api_keys)
        successor = msgspec.structs.replace(snapshot, revision=snapshot.revision + 1, keys=api_keys)
        return wire.seal(successor, SNAPSHOT_KEY)

    def await_applied(self, within_s: float = APPLY_S) -> None:
        """Wait until every data plane serves what the database says now."""
        for plane in self.planes():
            eventually(
                f"data plane {plane.name} applies what was decided",
                lambda plane=plane: plane.applied() == self.decided(),
                within_s,
            )

    def assert_a_change_is_applied(self, within_s: float = APPLY_S) -> None:
        """Change something through the API and see the data planes obey."""
        self._changes += 1
        changed_s = 200 + self._changes
        eventually(
            "the API takes a change",
            lambda: (
                self.api.ask(
                    "PATCH", "/api/proxy/config", {"stream_idle_timeout_s": changed_s}
                ).is_success
            ),
            within_s,
        )
        self.await_applied(within_s)

    def decided(self) -> tuple[str, int]:
        """Epoch and revision in the database."""
        state = self.api.state()
        return state["epoch"], state["revision"]

    def standby(self) -> set[str]:
        """The ids of the nodes that no data plane uses."""
        return {node["id"] for node in self.api.state()["standby"]}

    def active_counts(self) -> dict[str, int]:
        """Node id -> requests that it is processing, over all data planes."""
        return {node: count for node, count in self.api.state()["active_counts"].items() if count}

    def latencies(self) -> dict[str, float]:
        """Node id -> seconds."""
        return dict(self.api.state()["latencies"])

    def models_of(self, node_id: str) -> list[str]:
        """Names of the models that the control plane knows on a node's disk."""
        node = self.api.call("GET", f"/api/proxy/nodes/{node_id}")
        return [model["name"] for model in node["available_models"]]

    def swept_at(self) -> float:
        """When the last health sweep finished, in unix seconds; 0 when none has."""
        return float(self.redis.get(keys.SWEEP_FINISHED_AT) or 0)

    def repair(self) -> None:
        """Everything runs and answers, whatever was done to it."""
        self.database.start()
        for thing in (*self._processes, *self._nodes):
            thing.thaw()
        if not self.valkey.is_running:
            self.start_valkey()
        if not self.control.is_running:
            self.start_control()
        if not self.worker.is_running:
            self.start_worker()
        if not self.plane.process.is_running:
            self.plane.start()

    def reset(self) -> None:
        """Repair, and take away what earlier scenarios left: as after the very first start."""
        self.repair()
        for plane in (self._second, self._group):
            if plane is not None:
                plane.process.stop()
        self._lent.clear()
        for node in self.api.nodes():
            self.api.node_remove(node["id"])
        for key in self.api.inference_keys():
            self.api.key_delete(key["id"])
        self.api.config_change(**FAST_CONFIG)
        self.assert_a_change_is_applied(RECOVER_S)

    def logs(self) -> list[Path]:
        """The log file of every process so far."""
        return sorted((self.directory / "logs").iterdir())

    def tails(self) -> str:
        """The end of every log."""
        return "\n".join(process.tail() for process in self._processes)


def workers_ready(plane: DataPlane) -> int:
    """How many workers of this data plane are ready; 0 while it does not answer."""
    try:
        return int(plane.readiness().json()["workers_ready"])
    except httpx2.HTTPError:
        return 0


def hold_requests(stack: Stack, *nodes: NodeProcess) -> list[RawStream]:
    """Streams that wait for their first byte, HELD_EACH of them on each of these nodes."""
    for node in nodes:
        node.hold_first_byte()
    streams = [stack.plane.stream(5) for _ in range(HELD_EACH * len(nodes))]
    for node in nodes:
        eventually("the node holds its share", lambda node=node: node.active() == HELD_EACH, 5)
    return streams
