"""A fake node as a process of its own: one that can be killed, frozen and brought back.

with OllamaProcess(["llama3.2"], name="fast", tokens_per_s=50) as node:
    node.freeze(); node.thaw(); node.kill(); node.start()   # the same port again
"""

import base64
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from fakes.ollama_node import Recorded

_TESTS_DIR = Path(__file__).resolve().parent.parent
_CONTROL_TIMEOUT_S = 10.0


class OllamaProcess:
    """One `python -m fakes.ollama`; every keyword is one of its options."""

    def __init__(
        self, models: Iterable[str] = ("llama3.2:latest",), **knobs: str | float | bool
    ) -> None:
        """Nothing runs before `start` or the `with`."""
        self._knobs: dict[str, str | float | bool] = {"models": ",".join(models), **knobs}
        self._process: subprocess.Popen[str] | None = None
        self.url = ""

    def __enter__(self) -> Self:
        """Start."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave no process behind, a frozen one neither."""
        self.kill()

    @property
    def pid(self) -> int:
        """The process's id."""
        return self._running().pid

    @property
    def port(self) -> int:
        """The port, which stays the same over restarts."""
        return int(self._knobs["port"])

    def start(self) -> None:
        """Start, and wait until it listens."""
        command = [sys.executable, "-m", "fakes.ollama"]
        for knob, value in self._knobs.items():
            flag = f"--{knob.replace('_', '-')}"
            if value is True:
                command.append(flag)
            elif value is not False:
                command += [flag, str(value)]
        environment = os.environ | {"PYTHONPATH": str(_TESTS_DIR)}
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env=environment
        )
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            status = self._process.wait()
            self._ended()
            message = f"the fake node did not start: exit status {status}"
            raise RuntimeError(message)
        self.url = str(json.loads(line)["ready"])
        host_and_port = self.url.split("//", 1)[1].split("/", 1)[0]
        self._knobs["port"] = int(host_and_port.rpartition(":")[2])

    def kill(self) -> None:
        """SIGKILL: connections end with RST or FIN as the kernel sees fit."""
        if self._process is None:
            return
        self._process.kill()
        self._ended()

    def terminate(self) -> int:
        """SIGTERM, and the exit status."""
        process = self._running()
        process.terminate()
        status = process.wait(timeout=_CONTROL_TIMEOUT_S)
        self._ended()
        return status

    def freeze(self) -> None:
        """SIGSTOP: the port still accepts, nothing is ever answered."""
        self._running().send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._running().send_signal(signal.SIGCONT)

    def seen(self) -> dict[str, Any]:
        """Counts, models in memory and recorded requests."""
        return self._control("", None)

    def counts(self) -> dict[str, Any]:
        """The same without the requests, for polling."""
        return self._control("?brief=1", None)

    def requests(self) -> list[Recorded]:
        """The recorded requests."""
        return [
            Recorded(
                method=entry["method"],
                path=entry["path"],
                headers=tuple((key, value) for key, value in entry["headers"]),
                body=base64.b64decode(entry["body"]),
                number=number,
            )
            for number, entry in enumerate(self.seen()["requests"], 1)
        ]

    def steer(self, **wish: Any) -> dict[str, Any]:
        """Change the running node; `control.py` lists the wishes."""
        return self._control("?brief=1", wish)

    def fault(self, kind: str, **parts: Any) -> None:
        """Put a fault on the node."""
        self.steer(faults=[{"kind": kind, **parts}])

    def clear_faults(self) -> None:
        """Healthy again."""
        self.steer(clear_faults=True)

    def _control(self, query: str, wish: dict[str, Any] | None) -> dict[str, Any]:
        root = self.url.split("//", 1)[1].split("/", 1)[0]
        data = None if wish is None else json.dumps(wish).encode()
        request = urllib.request.Request(f"http://{root}/__control{query}", data=data)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=_CONTROL_TIMEOUT_S) as answer:
            seen: dict[str, Any] = json.load(answer)
            return seen

    def _running(self) -> "subprocess.Popen[str]":
        if self._process is None:
            message = "the fake node is not running"
            raise RuntimeError(message)
        return self._process

    def _ended(self) -> None:
        process = self._running()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()
        self._process = None
