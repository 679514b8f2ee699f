"""What `make run` starts, once for all client tests: the supervisor, its children, fake nodes.

    with Installation(directory) as system: system.proxy, system.control, system.nodes["fast"]

The ports are the kernel's choice; the first nodes are registered by AIVONX_NODES, as an operator
would do it.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx2
from fakes.process import OllamaProcess
from fakes.processes import Process, eventually, free_port

ROOT: Final = Path(__file__).resolve().parents[2]
# From the first process to an answer on both planes, on a machine that runs other tests as well.
START_S: Final = 60.0
# What the API accepted is in force on the data plane after this.
APPLY_S: Final = 10.0
NODES: Final[dict[str, tuple[str, ...]]] = {
    "fast": ("llama3.2:latest", "qwen3:8b", "nomic-embed-text:latest"),
    "steady": ("llama3.2:latest", "gemma3:4b", "voxtral:latest"),
    "fragile": ("fragile:latest",),
}
# Settings that would lead the children to another system than their own.
_NOT_INHERITED: Final = ("AIVONX_", "DJANGO_", "REDIS_URL", "DATABASE_URL", "ROOT_PASSWORD")


class Installation:
    """The whole system as an operator has it."""

    def __init__(self, directory: Path) -> None:
        """Nothing runs before the `with`."""
        self.data_dir = directory / "var"
        self.proxy = f"http://127.0.0.1:{free_port()}"
        self.control = f"http://127.0.0.1:{free_port()}"
        self.metrics = f"http://127.0.0.1:{free_port()}"
        self.nodes = {
            name: OllamaProcess(models, name=name, num_parallel=8) for name, models in NODES.items()
        }
        # Runs, but is not registered: the README adds it.
        self.spare = OllamaProcess(("mistral:latest",), name="spare")
        self._exits = ExitStack()
        self._log = directory / "supervisor.log"

    def __enter__(self) -> Self:
        """Start everything and wait until the nodes serve."""
        with ExitStack() as started:
            for node in (*self.nodes.values(), self.spare):
                started.enter_context(node)
            supervisor = Process(
                "supervisor",
                [sys.executable, "-m", "deploy.local.supervisor"],
                self._environment(),
                self._log,
                ROOT,
            )
            started.callback(supervisor.stop)
            supervisor.start()
            eventually("the system serves every model", lambda: self._serves(supervisor), START_S)
            self._exits = started.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop everything."""
        self._exits.close()

    @contextmanager
    def operator(self) -> Iterator[httpx2.Client]:
        """A signed-in client of the control plane."""
        password = (self.data_dir / "initial_admin_password").read_text().strip()
        with httpx2.Client(base_url=self.control, timeout=15) as client:
            ask = {"username": "root", "password": password}
            answer = client.post("/api/account/login", json=ask).raise_for_status()
            client.headers["Authorization"] = f"Bearer {answer.json()['access']}"
            yield client

    def models(self) -> set[str]:
        """What the data plane lists."""
        try:
            listed: list[dict[str, Any]] = httpx2.get(f"{self.proxy}/api/tags").json()["models"]
        except (httpx2.TransportError, KeyError):
            return set()
        return {model["name"] for model in listed}

    def _serves(self, supervisor: Process) -> bool:
        assert supervisor.is_running, supervisor.tail()
        wanted = {model for models in NODES.values() for model in models}
        return self.models() >= wanted and self._is_ready(self.control)

    def _is_ready(self, plane: str) -> bool:
        try:
            return httpx2.get(f"{plane}/readyz").is_success
        except httpx2.TransportError:
            return False

    def _environment(self) -> dict[str, str]:
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
        }
        return inherited | {
            "AIVONX_PROXY_BIND": self.proxy.removeprefix("http://"),
            "AIVONX_CONTROL_BIND": self.control.removeprefix("http://"),
            "AIVONX_METRICS_BIND": self.metrics.removeprefix("http://"),
            "AIVONX_DATA_DIR": str(self.data_dir),
            "AIVONX_NODES": ",".join(node.url for node in self.nodes.values()),
        }
