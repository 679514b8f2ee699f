"""What is no sound HTTP, against the control plane as it is run: always JSON, nothing repeated.

A row stands in bad_http.toml and is named after its row of the list of bad input. `raw` is sent,
with each of `with` in the place of `%s`; a character is a byte, `<3*ab>` is `ababab`.
"""

from __future__ import annotations

import json
import os
import re
import socket
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from fakes.processes import Process, eventually, free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[3]
SHAPE = {"detail", "code", "errors", "request_id"}
REPEATED = re.compile(r"<(\d+)\*([^<>]+)>", re.DOTALL)


def cases() -> Iterator[Any]:
    data = tomllib.loads((Path(__file__).parent / "bad_http.toml").read_text(encoding="utf-8"))
    for row in data["row"]:
        for number, word in enumerate(row.get("with", [""]), start=1):
            text = row["raw"].replace("%s", word)
            raw = REPEATED.sub(lambda found: found[2] * int(found[1]), text).encode("latin-1")
            name = f"{row['id']}-{row['what']}-{number}".replace(" ", "-")
            yield pytest.param(raw, row["status"], id=name)


def exchanged(port: int, raw: bytes) -> bytes:
    """What comes back on a connection on which nothing more will be sent."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
        client.sendall(raw)
        client.shutdown(socket.SHUT_WR)
        received = b""
        while chunk := client.recv(65_536):
            received += chunk
    return received


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The control plane under gunicorn, on a database of its own."""
    directory = tmp_path_factory.mktemp("bad-http")
    number = free_port()
    environment = os.environ | {
        "DATABASE_URL": f"sqlite:///{directory}/control.sqlite3",
        "AIVONX_CONTROL_BIND": f"127.0.0.1:{number}",
        "AIVONX_DATA_DIR": str(directory),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "control_plane/manage.py", "migrate"]
    migrating = Process("migrate", command, environment, directory / "migrate.log", ROOT)
    migrating.start()
    assert migrating.exit_code(60) == 0, migrating.tail()
    config = str(ROOT / "deploy" / "local" / "gunicorn.conf.py")
    command = [sys.executable, "-m", "gunicorn", "-c", config]
    command.append("control_plane.config.wsgi:application")
    serving = Process("gunicorn", command, environment, directory / "gunicorn.log", ROOT)
    serving.start()
    try:
        eventually("the control plane answers", lambda: is_up(number), 20)
        yield number
        log = (directory / "gunicorn.log").read_text(encoding="utf-8")
        assert "Traceback" not in log
    finally:
        serving.stop()


def is_up(number: int) -> bool:
    try:
        return b" 200 " in exchanged(number, b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    except OSError:
        return False


@pytest.mark.parametrize(("raw", "status"), list(cases()))
def test_bad_http(port: int, raw: bytes, status: int) -> None:
    received = exchanged(port, raw)
    head, _, body = received.partition(b"\r\n\r\n")
    assert int(head.split(b" ", 2)[1]) == status, received
    assert b"\r\nContent-Type: application/json\r\n" in head + b"\r\n", head
    document = body[body.index(b"{") : body.rindex(b"}") + 1]  # it may come in chunks
    assert set(json.loads(document)) == SHAPE
    for word in (b"canary", b"gunicorn", b"Traceback", b"Python", b"<html"):
        assert word not in received
