"""The parent of the workers: it forks them, keeps them running, and ends with them.

It serves nothing itself, has no event loop and no thread, and forks after everything is imported:
a worker shares its code with the others in memory, and a new one is there within milliseconds.

  - Each worker listens on the port by itself (SO_REUSEPORT): when one dies, new connections go to
    the others at once. The parent only holds the port, so that it stays ours meanwhile.
  - A worker that ends is started again: at once when it had been well, then with growing pauses.
    Its row on the board is cleared first, so that the others count right from that moment.
  - SIGTERM and SIGINT drain all workers; a second one ends them at once.
  - The kernel kills the children when the parent dies, however it dies.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import selectors
import signal
import socket
import time
import traceback
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn

from data_plane.host.board import Board
from data_plane.host.listening import bound
from data_plane.host.place import Place
from data_plane.serving import serve
from data_plane.settings import LISTEN_BACKLOG
from data_plane.telemetry.logs import plain_log
from data_plane.workers.gathering import gather
from shared.environ import Bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.settings import Settings
    from data_plane.telemetry.logs import Log

FIRST_PAUSE_S: Final = 0.05
MAX_PAUSE_S: Final = 2.0
"""A worker that cannot start is tried again this often; one that was killed is back before."""

STEADY_AFTER_S: Final = 10.0
"""A worker that ran this long was well: its next pause is the first one again."""

STOP_GRACE_S: Final = 10.0
"""Over what the workers themselves allow for their drain; then they are killed."""

_STOP: Final = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG: Final = 1
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(slots=True, eq=False)
class Child:
    """A process that is meant to run."""

    name: str
    work: Callable[[], int]
    number: int = 0
    """Of a worker; 0 for what is none."""

    pid: int = 0
    """0: it does not run."""

    started_at: float = 0.0
    due_at: float = 0.0
    pause_s: float = FIRST_PAUSE_S


def keep_workers(settings: Settings) -> int:
    """Serve by several processes until signalled; the exit status."""
    log = plain_log(settings.log_format, settings.log_level)
    try:
        parent = Parent(settings, log)
    except OSError as error:
        log.warning("cannot_listen", reason=str(error))
        return 1
    return parent.run()


class Parent:
    """Owns the children from the first to the last."""

    def __init__(self, settings: Settings, log: Log) -> None:
        """Raises OSError when one of the addresses cannot be had."""
        self._log = log
        self._settings = settings
        self._signals = 0
        self._is_clean = True
        bound(settings.proxy_bind).close()  # a stranger on our port is an error, not a companion
        self._port = bound(settings.proxy_bind, shares_port=True)
        self._metrics = bound(settings.metrics_bind)
        self._metrics.listen(LISTEN_BACKLOG)
        board = self._board = Board(settings.workers)
        places = [
            Place(number, settings.instance, board, _private_listener())
            for number in range(1, settings.workers + 1)
        ]
        addresses = {place.number: place.health.getsockname() for place in places}
        self._workers = [
            Child(f"worker {place.number}", self._work_of(place), place.number) for place in places
        ]
        self._gatherer = Child(
            "metrics", lambda: gather(self._metrics, settings.instance, board, addresses)
        )
        self._children = [self._gatherer, *self._workers]

    def _work_of(self, place: Place) -> Callable[[], int]:
        settings = self._settings
        host, port = self._port.getsockname()[:2]
        share = replace(
            settings,
            instance=place.instance,
            proxy_bind=Bind(host, port),
            # A share each; but the largest body that is allowed must find room somewhere.
            body_budget_bytes=max(
                settings.body_budget_bytes // settings.workers, settings.max_body_bytes
            ),
            spool_budget_bytes=max(
                settings.spool_budget_bytes // settings.workers, settings.max_body_bytes
            ),
            max_memory_bytes=settings.max_memory_bytes
            and settings.max_memory_bytes // settings.workers,
        )
        return lambda: serve(share, place)

    def run(self) -> int:
        """Start, keep, drain; the exit status."""
        self._log.info(
            "workers_starting",
            workers=len(self._workers),
            proxy=_shown(self._port),
            metrics=_shown(self._metrics),
            instance=self._settings.instance,
            pid=os.getpid(),
        )
        # Objects that the collector never visits stay in pages that all processes share.
        gc.collect()
        gc.freeze()
        wake = self._hear_signals()
        while not self._signals:
            self._start_due()
            self._pause(wake, self._until_due())
            self._reap()
        self._drain(wake)
        self._log.info("workers_stopped", clean=self._is_clean)
        return 0 if self._is_clean else 1

    def _hear_signals(self) -> selectors.BaseSelector:
        read, write = os.pipe()
        os.set_blocking(read, False)
        os.set_blocking(write, False)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        for number in _STOP:
            signal.signal(number, self._on_stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop
        selector = selectors.DefaultSelector()
        selector.register(read, selectors.EVENT_READ)
        return selector

    def _on_stop(self, *_: object) -> None:
        self._signals += 1

    def _pause(self, wake: selectors.BaseSelector, limit_s: float | None) -> None:
        for key, _ in wake.select(limit_s):
            with contextlib.suppress(BlockingIOError):
                os.read(key.fd, 4_096)

    # Starting

    def _start_due(self) -> None:
        now = time.monotonic()
        for child in self._children:
            if not child.pid and now >= child.due_at:
                self._start(child, now)

    def _until_due(self) -> float | None:
        waiting = [child.due_at for child in self._children if not child.pid]
        return max(0.0, min(waiting) - time.monotonic()) if waiting else None

    def _start(self, child: Child, now: float) -> None:
        if child.number:
            self._board.started(child.number)
        parent = os.getpid()
        # Held back until the child has its own answer to them: none may be lost in between.
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
        pid = os.fork()
        if not pid:
            _become(child.work, parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        child.pid, child.started_at = pid, now

    # Ending

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self._children:
                if child.pid == pid:
                    self._ended(child, os.waitstatus_to_exitcode(status))

    def _ended(self, child: Child, code: int) -> None:
        if child.number:
            self._board.clear(child.number)
        now = time.monotonic()
        if now - child.started_at > STEADY_AFTER_S:
            child.pause_s = FIRST_PAUSE_S
        child.pid = 0
        pause_s = child.pause_s
        child.due_at = now + pause_s
        child.pause_s = min(pause_s * 2, MAX_PAUSE_S)
        if not self._signals:
            self._log.error("child_ended", child=child.name, code=code, again_in_s=pause_s)
        elif child.number and code not in {0, -signal.SIGTERM}:  # the latter: it had not begun
            self._is_clean = False
            self._log.error("child_ended", child=child.name, code=code)

    def _drain(self, wake: selectors.BaseSelector) -> None:
        self._signal_workers(signal.SIGTERM)
        settings = self._settings
        deadline = (
            time.monotonic() + settings.drain_delay_s + settings.drain_timeout_s + STOP_GRACE_S
        )
        while any(child.pid for child in self._workers):
            now = time.monotonic()
            if self._signals > 1 or now >= deadline:
                self._is_clean = False
                self._signal_workers(signal.SIGKILL)
            self._pause(wake, max(0.0, deadline - now) if now < deadline else None)
            self._reap()
        if self._gatherer.pid:  # to the last, so that the drain can be watched
            os.kill(self._gatherer.pid, signal.SIGTERM)

    def _signal_workers(self, number: signal.Signals) -> None:
        for child in self._workers:
            if child.pid:
                os.kill(child.pid, number)


def _become(work: Callable[[], int], parent: int) -> NoReturn:
    """In the child: do the work, and end. Nothing of the parent's is run any more."""
    code = 70
    try:
        signal.set_wakeup_fd(-1)
        for number in (*_STOP, signal.SIGCHLD):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP)
        os.setsid()  # Ctrl-C is for the parent, which drains
        _die_with(parent)
        code = work()
    except BaseException:  # noqa: BLE001 - the process ends here, and says why
        traceback.print_exc()
    finally:
        os._exit(code)


def _die_with(parent: int) -> None:
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:  # it died before the request was in place
        os.kill(os.getpid(), signal.SIGKILL)


def _private_listener() -> socket.socket:
    """Where one worker answers the gatherer. Its name is the kernel's choice and in no file
    system: nothing to clean up, and no limit to how deep the data directory may lie.
    """
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind("")
    sock.listen(LISTEN_BACKLOG)
    sock.setblocking(False)  # noqa: FBT003 - the standard library's signature
    return sock


def _shown(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"http://{Bind(host, port)}"
