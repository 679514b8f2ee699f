"""PostgreSQL goes away under gunicorn's threads and the pool of connections, and comes back."""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from fakes import postgres
from fakes.processes import Process, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
PASSWORD = "correct horse battery"
WITHIN_S = 3.5
THREADS = 8


class Stack:
    """The control plane on a PostgreSQL of its own."""

    def __init__(self, server: postgres.PostgresServer, directory: Path) -> None:
        self.server = server
        self.port = free_port()
        self.environment = os.environ | {
            "DATABASE_URL": postgres.database_create(server.url, "outage"),
            "AIVONX_ADMIN_PASSWORD": PASSWORD,
            "AIVONX_CONTROL_BIND": f"127.0.0.1:{self.port}",
            "AIVONX_DATA_DIR": str(directory),
            "PYTHONPATH": str(ROOT),
        }
        self.directory = directory
        for command in ("migrate", "bootstrap"):
            step = self._process(command, "control_plane/manage.py", command)
            step.start()
            assert step.exit_code(60) == 0, step.tail()
        config = ROOT / "deploy" / "local" / "gunicorn.conf.py"
        application = "control_plane.config.wsgi:application"
        self.control = self._process("gunicorn", "-m", "gunicorn", "-c", str(config), application)
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)

    def _process(self, name: str, *arguments: str) -> Process:
        command = [sys.executable, *arguments]
        return Process(name, command, self.environment, self.directory / f"{name}.log", ROOT)

    def is_up(self) -> bool:
        try:
            return self.http.get("/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def sign_in(self) -> httpx.Response:
        body = {"username": "root", "password": PASSWORD}
        return self.http.post("/api/account/login", json=body)


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with postgres.open_server() as server:
        stack = Stack(server, tmp_path_factory.mktemp("outage"))
        stack.control.start()
        try:
            eventually("the control plane answers", stack.is_up, 20)
            yield stack
        finally:
            stack.http.close()
            stack.control.stop()


def timed(stack: Stack, path: str, headers: dict[str, str]) -> tuple[int, str, float]:
    began = time.monotonic()
    answer = stack.http.get(path, headers=headers)
    return answer.status_code, answer.json().get("code", ""), time.monotonic() - began


def test_an_outage_is_503_in_time_and_over_with_the_first_request_after_it(stack: Stack) -> None:
    """F52."""
    access = stack.sign_in().json()["access"]
    headers = {"Authorization": f"Bearer {access}"}
    with ThreadPoolExecutor(THREADS) as threads:
        # Every thread at once, so that the pool holds as many connections as it ever will.
        for _ in range(3):
            asked = [threads.submit(timed, stack, "/api/account/me", headers) for _ in range(24)]
            assert {one.result()[0] for one in asked} == {200}

        stack.server.kill()
        assert stack.http.get("/livez").status_code == 200
        ready = timed(stack, "/readyz", {})
        assert (ready[0], ready[2] < WITHIN_S) == (503, True), ready
        asked = [threads.submit(timed, stack, "/api/account/me", headers) for _ in range(THREADS)]
        for status, code, took_s in [one.result() for one in asked]:
            assert (status, code) == (503, "database_unavailable")
            assert took_s < WITHIN_S
        assert stack.sign_in().status_code == 503

        stack.server.start()
        assert timed(stack, "/api/account/me", headers)[0] == 200


def test_a_restart_that_nobody_noticed_fails_no_request(stack: Stack) -> None:
    headers = {"Authorization": f"Bearer {stack.sign_in().json()['access']}"}
    with ThreadPoolExecutor(THREADS) as threads:
        asked = [threads.submit(timed, stack, "/api/account/me", headers) for _ in range(48)]
        assert {one.result()[0] for one in asked} == {200}
        stack.server.kill()
        stack.server.start()
        assert timed(stack, "/api/account/me", headers)[0] == 200
        stack.server.kill()
        stack.server.start()
        asked = [threads.submit(timed, stack, "/api/account/me", headers) for _ in range(THREADS)]
        answers = [one.result() for one in asked]
    assert {status for status, _, _ in answers} == {200}, answers
