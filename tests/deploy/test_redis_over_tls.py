"""Every part speaks TLS with Redis when its address says `rediss://`."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from fakes.authority import Authority
from fakes.faultproxy import FaultProxy
from fakes.make_run import ROOT, Run
from fakes.processes import eventually

from data_plane import native
from deploy.local import engine
from deploy.local.settings import make_data_dir, secrets_for_children
from shared import keys

pytestmark = pytest.mark.timeout(150)

SWEPT_S = 30.0
CONNECT = (
    "from control_plane.config.celery import app\n"
    "app.connection_for_write().ensure_connection(max_retries=1, timeout=5)"
)


@contextmanager
def in_a_thread(proxy: FaultProxy) -> Iterator[FaultProxy]:
    """Let it serve while the test waits for processes."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        asyncio.run_coroutine_threadsafe(proxy.up(), loop).result(10)
        yield proxy
        asyncio.run_coroutine_threadsafe(proxy.down(), loop).result(10)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def plain_url(tmp_path: Path) -> Iterator[str]:
    with engine.running(tmp_path / "valkey") as url:
        yield url


@pytest.fixture
def tls_url(plain_url: str, authority: Authority) -> Iterator[str]:
    """The same Redis, which is spoken to over TLS there."""
    plain = urlsplit(plain_url)
    assert plain.port is not None
    proxy = FaultProxy("127.0.0.1", plain.port, tls=authority.server("localhost"))
    with in_a_thread(proxy):
        yield f"rediss://:{plain.password}@localhost:{proxy.port}{plain.path}"


def chat(system: Run) -> int:
    body = json.dumps({"model": "llama3.2", "messages": [{"role": "user", "content": "hi"}]})
    request = urllib.request.Request(f"http://{system.proxy}/api/chat", body.encode())
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert b'"done":true' in answer.read()
        status: int = answer.status
        return status


def test_the_whole_system_works_over_tls(
    make_run: Callable[..., Run], plain_url: str, tls_url: str, authority: Authority
) -> None:
    """S45."""
    system = make_run(REDIS_URL=tls_url, SSL_CERT_FILE=str(authority.file))
    system.start()
    assert chat(system) == 200
    with redis.Redis.from_url(plain_url) as watched:
        assert watched.exists(keys.SNAPSHOT)
        eventually("the worker has swept", lambda: watched.exists(keys.SWEEP_FINISHED_AT), SWEPT_S)
        eventually("a data plane reports", lambda: watched.zcard(keys.INSTANCES), SWEPT_S)
    assert system.finish() == 0


@pytest.mark.parametrize("is_trusted", [True, False])
def test_celery_believes_nobody_without_a_certificate(
    tls_url: str, authority: Authority, tmp_path: Path, *, is_trusted: bool
) -> None:
    """S45: left to itself, its transport would take any certificate."""
    make_data_dir(tmp_path / "var")
    trust = {"SSL_CERT_FILE": str(authority.file)} if is_trusted else {}
    result = subprocess.run(
        [sys.executable, "-c", CONNECT],
        cwd=ROOT,
        env={
            "PATH": os.environ["PATH"],
            native.SETTING: "on" if native.is_used() else "off",
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "control_plane.config.settings",
            "REDIS_URL": tls_url,
            **secrets_for_children({}, tmp_path / "var"),
            **trust,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode == 0) is is_trusted, result.stderr
    assert ("CERTIFICATE_VERIFY_FAILED" in result.stderr) is not is_trusted, result.stderr
