"""A data plane as a scenario sees it: its process, its clients' side, its word about itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import httpx2
from fakes.processes import eventually, free_port, is_listening
from fakes.raw import RawStream

from shared import keys, reports

if TYPE_CHECKING:
    from fakes.stack import Stack

MODEL: Final = "llama3.2:latest"
"""What every fake node has unless a scenario says otherwise."""

START_S: Final = 30.0
"""For a process to answer: two cores run everything at once."""


class DataPlane:
    """One data-plane process and the two ports that it answers on."""

    def __init__(self, stack: Stack, name: str, **settings: str) -> None:
        self.name = name
        self.port = free_port()
        self.metrics_port = free_port()
        self.data_dir = stack.directory / f"plane-{name}"
        self.data_dir.mkdir(exist_ok=True)
        self._redis = stack.redis
        environment = {
            **stack.environment,
            "AIVONX_PROXY_BIND": f"127.0.0.1:{self.port}",
            "AIVONX_METRICS_BIND": f"127.0.0.1:{self.metrics_port}",
            "AIVONX_DATA_DIR": str(self.data_dir),
            "AIVONX_INSTANCE": name,
            "AIVONX_SLOW_START_S": "0",  # tests add nodes at all times, and expect them to serve
            "AIVONX_MAX_MEMORY_BYTES": "0",  # what else runs here must not matter
            **settings,
        }
        self.process = stack.process(f"plane-{name}", ["-m", "data_plane"], environment)

    def start(self) -> None:
        """Start it and wait until it is alive."""
        self.process.start()
        self._await_port(self.metrics_port)
        self._await_port(self.port)

    def _await_port(self, port: int) -> None:
        def is_up() -> bool:
            assert self.process.is_running, self.process.tail()
            return is_listening(port)

        eventually(f"data plane {self.name} listens", is_up, START_S)

    def url(self, path: str) -> str:
        """A URL on the client side."""
        return f"http://127.0.0.1:{self.port}{path}"

    def readiness(self) -> httpx2.Response:
        """/readyz?verbose."""
        return httpx2.get(f"http://127.0.0.1:{self.metrics_port}/readyz?verbose", timeout=2)

    def report(self) -> reports.Report | None:
        """What it last told Redis."""
        data = self._redis.get(keys.report(self.name))
        return reports.decode(bytes(data)) if data else None

    def workers(self) -> list[dict[str, Any]]:
        """What each worker that answers says of itself, when there are several."""
        return list(self.readiness().json()["workers"])

    def metric(self, name: str, **labels: str) -> float:
        """The sum of the samples of a metric that carry these labels."""
        text = httpx2.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=2).text
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        return sum(
            float(line.rpartition(" ")[2])
            for line in text.splitlines()
            if line.startswith((f"{name} ", f"{name}{{")) and all(part in line for part in wanted)
        )

    def applied(self) -> tuple[str, int]:
        """Epoch and revision that it serves, asked of itself."""
        facts = self.readiness().json()
        return facts["epoch"], facts["revision"]

    def active_count(self, node_id: str) -> int:
        """How many requests this instance says a node is processing."""
        report = self.report()
        node = report.nodes.get(node_id) if report else None
        return node.active_count if node else 0

    def chat(self, model: str, *, key: str = "", **fields: object) -> httpx2.Response:
        """One request that is not streamed."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        body = {"model": model, "messages": [{"role": "user", "content": "hi"}], "stream": False}
        return httpx2.post(
            self.url("/api/chat"), json={**body, **fields}, headers=headers, timeout=15
        )

    def stream(
        self, words: int, path: str = "/api/chat", *, key: str = "", model: str = MODEL
    ) -> RawStream:
        """Begin a streamed answer of that many tokens."""
        body: dict[str, object] = {
            "model": model,
            "messages": [{"role": "user", "content": f"Say {words} words"}],
            "stream": True,
            "max_tokens": 1_000,
        }
        if path == "/api/chat":
            del body["max_tokens"]
        return RawStream(self.port, path, body, key=key)

    def models(self) -> set[str]:
        """The names that /api/tags lists."""
        answer = httpx2.get(self.url("/api/tags"), timeout=5).json()
        return {model["name"] for model in answer["models"]}
