"""`make run`: the whole system in the foreground.

Starts in order (Valkey, preparation, then web, worker and data plane together), restarts what dies
with back-off, drains on SIGINT or SIGTERM (a second one ends at once), and leaves no process behind
however it ends itself. One thread, because the children's death signal follows the thread that
started them.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from typing import TYPE_CHECKING, Any

from deploy.local import banner, engine, native, ports
from deploy.local.children import ROOT, Child
from deploy.local.parent_death import die_with_parent
from deploy.local.settings import Settings, make_data_dir, secrets_for_children
from deploy.local.watchdog import SweepWatchdog
from shared import environ
from shared.environ import Bind, SettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

READY_DEADLINE_S = 60.0
TICK_S = 0.25
STOP_GRACE_S = 10.0
ROTATE_EVERY_S = 60.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StartError(Exception):
    """The system cannot be started. The text is fit to be shown as it is."""


class Supervisor:
    """Owns the children from the first to the last."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.children: dict[str, Child] = {}
        self.environment: dict[str, str] = {}
        self.engine: engine.Engine | None = None
        self.compiler: Child | None = None
        """Compiles the data plane for the next start."""

        self.signals = 0
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def run(self, say_more: Callable[[Settings], str] | None = None) -> int:
        """Start, serve, drain. The exit code."""
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        for number in SIGNALS:
            if signal.getsignal(number) != signal.SIG_IGN:  # nohup's wish stands
                signal.signal(number, self._on_signal)
        signal.signal(signal.SIGCHLD, lambda *_: None)  # wakes the loop
        try:
            found = self._start()
            if not self.signals:
                banner.show(self.settings, found, say_more(self.settings) if say_more else "")
                self._supervise()
        finally:
            self._stop()
        return 0

    def _on_signal(self, *_: object) -> None:
        self.signals += 1

    def _start(self) -> dict[str, Any]:
        settings = self.settings
        for name, bind in settings.binds.items():
            ports.require_free(name, bind)
        self.environment = {
            **os.environ,
            **secrets_for_children(os.environ, settings.data_dir),
            # As we understood them, so that a NAME_FILE or an empty value means the same to all.
            **{name: str(bind) for name, bind in settings.binds.items()},
            "AIVONX_DATA_DIR": str(settings.data_dir),
            "DATABASE_URL": settings.database_url,
            "REDIS_URL": settings.redis_url,
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
        }
        if not settings.redis_url:
            self._start_engine()
        self._forbid_own_ports()
        found = self._prepare()
        if settings.native == "on" and not self.signals:
            self._compile()
        if self.signals:
            return found
        python = sys.executable
        self._add(
            "web",
            (python, "-m", "gunicorn", "--config", "deploy/local/gunicorn.conf.py",
             "control_plane.config.wsgi:application"),
        )  # fmt: skip
        self._add(
            "worker",
            (python, "-m", "celery", "--app", "control_plane.config.celery", "worker",
             "--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle",
             "--loglevel", "INFO"),
        )  # fmt: skip
        self._add("data-plane", (python, "-m", "data_plane"))
        self._wait_until("web", lambda: self._is_ready(settings.control_bind))
        self._wait_until("data-plane", lambda: self._is_ready(settings.metrics_bind))
        if settings.native == "auto" and native.is_worth_trying():
            self.compiler = self._child("native", (*native.COMMAND, "--nice"))
            self.compiler.start()
        return found

    def _compile(self) -> None:
        """Compile the data plane before it starts. One that dies later starts all the same, even
        if the sources are others by then.
        """
        compiler = self.compiler = self._child("native", native.COMMAND)
        compiler.start()
        while compiler.is_running and not self.signals:
            self._pause(TICK_S)
        if not self.signals:
            self.compiler = None
            if compiler.exit_code:
                raise StartError(f"AIVONX_NATIVE: on, and that failed: {compiler.last_words()}")
            self.environment["AIVONX_NATIVE"] = "auto"

    def _is_ready(self, bind: Bind) -> bool:
        return answers(bind, "/readyz", self.settings.operator_host)

    def _start_engine(self) -> None:
        prepared = engine.prepare(self.settings.data_dir / "valkey")
        self.engine = prepared
        self.environment["REDIS_URL"] = prepared.url
        self._add("valkey", prepared.command)
        self._wait_until("valkey", prepared.answers)

    def _forbid_own_ports(self) -> None:
        """A node must not be one of our own services."""
        own = [bind.port for bind in self.settings.binds.values()]
        if self.engine is not None:
            own.append(self.engine.port)
        listed = environ.items(self.environment, "AIVONX_NODE_FORBIDDEN_PORTS")
        self.environment["AIVONX_NODE_FORBIDDEN_PORTS"] = ",".join([*listed, *map(str, own)])

    def _prepare(self) -> dict[str, Any]:
        log_path = self.settings.data_dir / "logs" / "prepare.log"
        with log_path.open("wb") as log, tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                (sys.executable, "-m", "deploy.local.prepare"),
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=log,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 - this process has no other thread
            )
            while process.poll() is None and not self.signals:
                self._pause(TICK_S)
            if self.signals:
                process.kill()
                process.wait()
                return {}
            output.seek(0)
            said = output.read().splitlines()
        if process.returncode:
            raise StartError(_complaint(log_path))
        found: dict[str, Any] = json.loads(said[-1])
        return found

    def _add(self, name: str, command: tuple[str, ...]) -> None:
        child = self.children[name] = self._child(name, command)
        child.start()

    def _child(self, name: str, command: tuple[str, ...]) -> Child:
        log_path = self.settings.data_dir / "logs" / f"{name}.log"
        return Child(name, command, self.environment, log_path)

    def _wait_until(self, name: str, is_ready: Callable[[], bool]) -> None:
        child = self.children[name]
        deadline = time.monotonic() + READY_DEADLINE_S
        while not self.signals and not is_ready():
            if not child.is_running or time.monotonic() > deadline:
                raise StartError(
                    f"{name} did not start; the end of {child.log_path}:\n{child.last_words()}"
                )
            self._pause(0.05)

    def _pause(self, seconds: float) -> None:
        """Wait, but not longer than until a signal or the end of a child."""
        if self._selector.select(seconds):
            with contextlib.suppress(BlockingIOError):
                os.read(self._wake_read, 4_096)

    def _supervise(self) -> None:
        watchdog = SweepWatchdog(self.environment["REDIS_URL"])
        rotate_at = time.monotonic() + ROTATE_EVERY_S
        while not self.signals:
            self._pause(TICK_S)
            now = time.monotonic()
            for child in self.children.values():
                self._revive(child, now)
            self._hear_compiler()
            if now > rotate_at:
                rotate_at = now + ROTATE_EVERY_S
                for child in self.children.values():
                    child.rotate_log()
            if watchdog.is_overdue(now):
                say("worker: no health sweep finished for too long; restarting it")
                self.children["worker"].signal(signal.SIGKILL)

    def _revive(self, child: Child, now: float) -> None:
        if child.process is not None and not child.is_running:
            code = child.exit_code
            wait_s = child.schedule_restart(now)
            say(f"{child.name} ended ({_manner(code)}); starting it again in {wait_s:g} s")
        if child.process is None and now >= child.due_at:
            child.start()

    def _hear_compiler(self) -> None:
        compiler = self.compiler
        if compiler is not None and not compiler.is_running:
            self.compiler = None
            if compiler.exit_code:
                say(f"not compiled, which only costs more per request: see {compiler.log_path}")
            else:
                say("the data plane has been compiled: requests cost less from the next start on")

    def _stop(self) -> None:
        """Drain: the data plane first, so that no stream is cut; Valkey last."""
        if self.signals:
            say("stopping; running streams may finish (press Ctrl-C again to stop at once)")
        if self.compiler is not None:
            self.compiler.kill_all()
            self.compiler.wait(STOP_GRACE_S)
        self._end(("data-plane",), self.settings.drain_timeout_s + STOP_GRACE_S)
        self._end(("web", "worker"), STOP_GRACE_S)
        self._end(("valkey",), STOP_GRACE_S)

    def _end(self, names: tuple[str, ...], grace_s: float) -> None:
        ending = [self.children[name] for name in names if name in self.children]
        for child in ending:
            child.signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_s
        while any(child.is_running for child in ending):
            if time.monotonic() > deadline or self.signals > 1:
                for child in ending:
                    child.signal(signal.SIGKILL)
                break
            self._pause(0.05)
        for child in ending:
            child.wait(STOP_GRACE_S)


def answers(bind: Bind, path: str, name: str) -> bool:
    """Whether a GET there, asking for that host name, answers 200."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind.host, bind.host)  # noqa: S104 - compared
    connection = http.client.HTTPConnection(host, bind.port, timeout=1)
    with contextlib.closing(connection):
        try:
            connection.request("GET", path, headers={"Host": name})
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False


def say(line: str) -> None:
    """Tell the person at the terminal, who may have closed it (that is a SIGHUP, and a drain)."""
    with contextlib.suppress(OSError):
        sys.stderr.write(f"aivonx: {line}\n")


def _complaint(log_path: Path) -> str:
    """Why the preparation failed: its own line, else the last one with where to read the rest."""
    said = log_path.read_text(errors="replace").strip().splitlines()
    last = said[-1] if said else "it said nothing"
    return last if last.startswith("aivonx: ") else f"the preparation failed: {last} ({log_path})"


def _manner(code: int | None) -> str:
    if code is not None and code < 0:
        return f"killed by {signal.Signals(-code).name}"
    return f"exit code {code}"


def lock_data_dir(data_dir: Path) -> int:
    """Hold the data directory for this process; a second supervisor on it would ruin both."""
    descriptor = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 32, 0).decode().strip()
        raise SettingError(
            "AIVONX_DATA_DIR", f"{data_dir} is in use by another make run (process {holder})"
        ) from None
    os.truncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def main(say_more: Callable[[Settings], str] | None = None) -> int:
    """Run until signalled. `say_more` adds to the banner."""
    os.umask(0o077)
    try:
        settings = Settings.read(os.environ)
        make_data_dir(settings.data_dir)
        lock_data_dir(settings.data_dir)
        return Supervisor(settings).run(say_more)
    except (SettingError, StartError, engine.EngineError) as error:
        say(str(error).removeprefix("aivonx: "))
        return 1


if __name__ == "__main__":
    sys.exit(main())
