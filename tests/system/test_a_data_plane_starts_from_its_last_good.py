"""A data plane that starts while everything else is down serves from what it kept on disk."""

from __future__ import annotations

import stat
import time
from typing import TYPE_CHECKING

from fakes.marks import on_both_databases
from fakes.plane import MODEL
from fakes.processes import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fakes.stack import Stack

COLD_START_S = 6.0


@on_both_databases
def test_it_serves_with_everything_else_down(stack: Stack) -> None:
    """F54."""
    stack.serving_node()
    applied = stack.plane.applied()
    stack.valkey.kill()
    stack.control.kill()
    stack.worker.kill()

    stack.plane.process.kill()
    began_at = time.monotonic()
    stack.plane.start()

    assert stack.plane.chat(MODEL).status_code == 200
    assert time.monotonic() - began_at < COLD_START_S
    assert stack.plane.readiness().status_code == 200
    assert stack.plane.applied() == applied
    stack.repair()
    stack.assert_a_change_is_applied(within_s=20)


def test_a_corrupted_last_good_is_ignored_with_a_reason(stack: Stack) -> None:
    """F64."""
    stack.serving_node()
    last_good = _last_good(stack)
    assert stat.S_IMODE(last_good.stat().st_mode) == 0o600
    stack.valkey.kill()
    stack.plane.process.kill()
    content = last_good.read_bytes()
    last_good.write_bytes(content[: len(content) // 2])
    mark = stack.plane.process.log.stat().st_size

    stack.plane.start()

    assert stack.plane.readiness().status_code == 503
    assert stack.plane.chat(MODEL).json()["code"] == "not_ready"
    eventually("it says why", lambda: b"bad_hash" in stack.plane.process.log.read_bytes()[mark:], 5)
    stack.start_valkey()
    eventually("it is served", lambda: stack.plane.chat(MODEL).status_code == 200, 10)


def _last_good(stack: Stack) -> Path:
    found = [path for path in stack.plane.data_dir.rglob("*") if path.is_file()]
    assert len(found) == 1, found
    return found[0]
