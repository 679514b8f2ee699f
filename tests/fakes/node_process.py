"""A node as a scenario sees it: killed, frozen, paced, and asked what arrived there."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from fakes.process import OllamaProcess
from fakes.processes import eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fakes.faults import FaultKind

INFERENCE: Final = ("/api/chat", "/v1/chat/completions", "/v1/messages")
PROBED: Final = ("/api/health", "/api/version")
SLOTS: Final = 64
"""No scenario wants to wait for a slot of the node."""


class NodeProcess:
    """One fake node in a process of its own, at one address for life."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.id = ""
        """Given by the control plane when it is registered."""
        self._process = self._process_with(())
        self._is_running = False
        self._cancelled_before = 0

    def _process_with(self, models: Iterable[str]) -> OllamaProcess:
        return OllamaProcess(models, port=self.port, num_parallel=SLOTS, health_route=True)

    def prepare(self, models: Iterable[str]) -> None:
        """Begin anew, with these models, as fast as can be."""
        self.id = ""
        if self._is_running:
            self._renew(set(models))
        else:
            self._process = self._process_with(models)
            self.restart()

    def _renew(self, models: set[str]) -> None:
        """A new process takes half a second of a core; an old one that forgets does as well."""
        self.pace()
        eventually("what it was doing has ended", lambda: self.active() == 0, 10)
        seen = self._process.counts()
        self._cancelled_before = int(seen["cancelled"])
        there = set(seen["models"])
        self._process.steer(
            forget=True, add_models=sorted(models - there), remove_models=sorted(there - models)
        )

    def restart(self) -> None:
        """Start it after a kill; it is as it was at first."""
        self._process.start()
        self._is_running = True
        self._cancelled_before = 0

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._is_running = False

    def freeze(self) -> None:
        """SIGSTOP."""
        self._process.freeze()

    def thaw(self) -> None:
        """SIGCONT; harmless when it was not frozen or does not run."""
        if self._is_running:
            self._process.thaw()

    def pace(
        self, *, token_s: float = 0.0, first_byte_s: float = 0.0, probe_s: float = 0.0
    ) -> None:
        """How long a token takes, and what comes before any. Clears faults."""
        delays = [(path, first_byte_s) for path in INFERENCE] + [(path, probe_s) for path in PROBED]
        faults = [
            {"kind": "delay", "path": path, "seconds": seconds}
            for path, seconds in delays
            if seconds
        ]
        speed = {"tokens_per_s": 1 / token_s if token_s else 0, "pull_s": 0}
        self._process.steer(clear_faults=True, faults=faults, speed=speed)

    def pull_slowly(self, seconds: float) -> None:
        """How long a pull takes."""
        self._process.steer(speed={"pull_s": seconds})

    def pulls_left(self) -> int:
        """Pulls whose client went away before they were done."""
        return int(self._process.counts()["abandoned"].get("/api/pull", 0))

    def hold_first_byte(self) -> None:
        """Take requests in and never answer them. Clears other faults."""
        faults = [{"kind": "silence", "path": path} for path in INFERENCE]
        self._process.steer(clear_faults=True, faults=faults)

    def fail(self, kind: FaultKind, *, token_s: float = 0.0) -> None:
        """Answer every request with this fault. Clears other faults."""
        self.pace(token_s=token_s)
        self._process.steer(faults=[{"kind": kind.value, "path": path} for path in INFERENCE])

    def pull(self, model: str) -> None:
        """A model appears on its disk."""
        self._process.steer(add_models=[model])

    def delete(self, model: str) -> None:
        """A model disappears from its disk."""
        self._process.steer(remove_models=[model])

    def active(self) -> int:
        """Requests that it is working on."""
        return int(self._process.counts()["active"])

    def cancelled(self) -> int:
        """Requests whose client went away."""
        return int(self._process.counts()["cancelled"]) - self._cancelled_before

    def served(self, path: str = "/api/chat") -> int:
        """Requests to a path that arrived here."""
        return int(self._process.counts()["paths"].get(path, 0))

    def checked(self) -> int:
        """Health checks that arrived here."""
        return self.served("/api/health")

    def models_asked(self) -> list[str]:
        """The models of the requests that arrived here, as they were spelt."""
        requests = [request for request in self._process.requests() if request.path in INFERENCE]
        return [json.loads(request.body)["model"] for request in requests]

    def authorizations(self) -> set[str]:
        """Every Authorization that inference requests carried here; "" for none."""
        requests = [request for request in self._process.requests() if request.path in INFERENCE]
        return {request.header("Authorization") or "" for request in requests}
