"""Accidents to a whole system, one after the other, each repaired before the next."""

from __future__ import annotations

import itertools
import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Self

from fakes.faults import FaultKind
from fakes.link import Link
from fakes.processes import eventually
from fakes.stack import GROUP, RECOVER_S, Stack, workers_ready

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from fakes.node_process import NodeProcess

HOLD_S: Final = 3.0
"""How long a fault lasts: some five probes, so that a node is found out and a request is let go."""

AFTERMATH_S: Final = 5.0
"""How long after its repair an accident may still be the reason why a connection broke."""

TOKEN_S: Final = 0.01


class Nemesis:
    """Four nodes, one of them behind a wire that can fail. Use it as a context manager."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._nodes = [stack.serving_node() for _ in range(3)]
        self._linked = stack.node()
        self._link = Link("127.0.0.1", self._linked.port)
        self._turns = itertools.cycle(self._accidents())
        self.done: list[str] = []
        self.workers_hit: list[tuple[float, float]] = []
        """From when to when (monotonic) the workers of the group could break a connection."""

        self.killed: list[tuple[float, float]] = []
        """Those of them in which one was killed, and not drained."""

    def __enter__(self) -> Self:
        self._link.__enter__()
        node_id = self._stack.api.node_add("node-behind-a-wire", self._link.url)["id"]
        self._linked.id = node_id
        for node in (*self._nodes, self._linked):
            node.pace(token_s=TOKEN_S)
        self._stack.await_applied(RECOVER_S)
        return self

    def __exit__(self, *_: object) -> None:
        self._link.__exit__(None, None, None)

    def _accidents(self) -> list[tuple[str, Callable[[], AbstractContextManager[None]]]]:
        stack, (first, second, third) = self._stack, self._nodes
        return [
            ("a node is killed", lambda: self._node_killed(first)),
            ("Redis is killed", self._redis_killed),
            ("a node is frozen", lambda: self._frozen(second)),
            ("a worker of the data plane is killed", self._group_worker_killed),
            ("a node is busy (503)", lambda: self._failing(third, FaultKind.BUSY)),
            ("Redis is frozen", lambda: self._frozen(stack.valkey)),
            ("connections to a node are reset", self._reset),
            ("the control plane is killed", self._control_killed),
            ("a node fails (500)", lambda: self._failing(first, FaultKind.RUNNER_DIED)),
            ("Redis is emptied", self._redis_emptied),
            ("a node vanishes (black hole)", self._black_hole),
            ("the Celery worker is killed", self._celery_killed),
            ("the data plane is restarted, drained", self._group_restarted),
        ]

    def accident(self) -> None:
        """The next one: it happens, lasts, is repaired, and then a change must reach everybody."""
        name, accident = next(self._turns)
        began_at = time.monotonic()
        with accident():
            time.sleep(HOLD_S)
        eventually(
            "the group is ready", lambda: workers_ready(self._stack.group) == GROUP, RECOVER_S
        )
        window = (began_at, time.monotonic() + AFTERMATH_S)
        if accident in (self._group_worker_killed, self._group_restarted):
            self.workers_hit.append(window)
        if accident == self._group_worker_killed:
            self.killed.append(window)
        self._stack.assert_a_change_is_applied(RECOVER_S)
        self.done.append(name)

    @contextmanager
    def _node_killed(self, node: NodeProcess) -> Iterator[None]:
        node.kill()
        yield
        node.restart()
        node.pace(token_s=TOKEN_S)

    @contextmanager
    def _frozen(self, thing: NodeProcess | object) -> Iterator[None]:
        thing.freeze()
        yield
        thing.thaw()

    @contextmanager
    def _failing(self, node: NodeProcess, kind: FaultKind) -> Iterator[None]:
        node.fail(kind, token_s=TOKEN_S)
        yield
        node.pace(token_s=TOKEN_S)

    @contextmanager
    def _reset(self) -> Iterator[None]:
        self._link.reset()
        yield
        self._link.reset()

    @contextmanager
    def _black_hole(self) -> Iterator[None]:
        self._link.black_hole()
        yield
        self._link.heal()

    @contextmanager
    def _redis_killed(self) -> Iterator[None]:
        self._stack.valkey.kill()
        yield
        self._stack.start_valkey()

    @contextmanager
    def _redis_emptied(self) -> Iterator[None]:
        self._stack.redis.flushall()
        yield

    @contextmanager
    def _control_killed(self) -> Iterator[None]:
        self._stack.control.kill()
        yield
        self._stack.start_control()

    @contextmanager
    def _celery_killed(self) -> Iterator[None]:
        self._stack.worker.kill()
        yield
        self._stack.start_worker()

    @contextmanager
    def _group_worker_killed(self) -> Iterator[None]:
        os.kill(self._stack.group.workers()[0]["pid"], signal.SIGKILL)
        yield

    @contextmanager
    def _group_restarted(self) -> Iterator[None]:
        group = self._stack.group.process
        group.terminate()
        assert group.exit_code(RECOVER_S) == 0, "a drained data plane ends with 0"
        yield
        self._stack.group  # noqa: B018 - it starts when it is asked for
