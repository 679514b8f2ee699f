"""A fake Ollama node in a process of its own, so that it can be killed and frozen."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, Any, Final

import httpx
from fakes.processes import eventually, free_port, is_listening

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakes.stack import Stack

INFERENCE: Final = ("/api/chat", "/v1/chat/completions", "/v1/messages")
PROBED: Final = ("/api/health", "/api/version")
SLOTS: Final = 64
"""No scenario wants to wait for a slot of the node."""


class NodeProcess:
    """One node; what it saw is asked of itself."""

    def __init__(self, stack: Stack, number: int) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.id = ""
        """Given by the control plane when it is registered."""
        self._process = stack.process(
            f"node-{number}", [], {**stack.environment, "PYTHONPATH": "tests"}
        )
        self._client = httpx.Client(base_url=self.url, timeout=5)

    def prepare(self, models: Iterable[str]) -> None:
        """Begin anew, with these models, as fast as can be."""
        self.kill()
        self._process.command = [
            *(sys.executable, "-m", "fakes.ollama", "--port", str(self.port)),
            *("--models", ",".join(models), "--num-parallel", str(SLOTS)),
        ]
        self.id = ""
        self.restart()

    def restart(self) -> None:
        """Start it after a kill; it is as it was at first."""
        self._process.start()
        eventually(
            f"node {self.port} listens",
            lambda: self._process.is_running and is_listening(self.port),
            30,
        )

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    def freeze(self) -> None:
        """SIGSTOP."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT."""
        self._process.thaw()

    def pace(self, *, token_s: float = 0.0, first_byte_s: float = 0.0, probe_s: float = 0.0) -> None:
        """How long a token takes, and what comes before any."""
        delays = [(path, first_byte_s) for path in INFERENCE] + [(path, probe_s) for path in PROBED]
        faults = [
            {"kind": "delay", "path": path, "seconds": seconds} for path, seconds in delays if seconds
        ]
        speed = {"tokens_per_s": 1 / token_s if token_s else 0}
        self._steer({"clear_faults": True, "faults": faults, "speed": speed})

    def hold_first_byte(self) -> None:
        """Take requests in and never answer them."""
        self._steer({"faults": [{"kind": "silence", "path": path} for path in INFERENCE]})

    def pull(self, model: str) -> None:
        """A model appears on its disk."""
        self._steer({"add_models": [model]})

    def delete(self, model: str) -> None:
        """A model disappears from its disk."""
        self._steer({"remove_models": [model]})

    def active(self) -> int:
        """Requests that it is working on."""
        return int(self._seen()["active"])

    def cancelled(self) -> int:
        """Requests whose client went away."""
        return int(self._seen()["cancelled"])

    def served(self, path: str = "/api/chat") -> int:
        """Requests to a path that arrived here."""
        return sum(1 for request in self._seen()["requests"] if request["path"] == path)

    def checked(self) -> int:
        """Health checks that arrived here."""
        return self.served("/api/health")

    def models_asked(self) -> list[str]:
        """The models of the requests that arrived here, as they were spelt."""
        bodies = [
            json.loads(base64.b64decode(request["body"]))
            for request in self._seen()["requests"]
            if request["path"] in INFERENCE
        ]
        return [body["model"] for body in bodies]

    def authorizations(self) -> set[str]:
        """Every Authorization that inference requests carried here; "" for none."""
        return {
            {name.lower(): value for name, value in request["headers"]}.get("authorization", "")
            for request in self._seen()["requests"]
            if request["path"] in INFERENCE
        }

    def _seen(self) -> dict[str, Any]:
        seen: dict[str, Any] = self._client.get("/__control").json()
        return seen

    def _steer(self, wish: dict[str, object]) -> None:
        answer = self._client.post("/__control", json=wish)
        assert answer.status_code == 200, answer.text  # noqa: PLR2004 - HTTP
