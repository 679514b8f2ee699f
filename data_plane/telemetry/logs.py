"""Log lines: one for every request, and one for every event worth an operator's eye.

Event names are constant, values are keys, prompts and credentials never appear. Lines are gathered
and handed to a thread four times a second, so that a slow disk or pipe never holds up a stream;
what does not fit is dropped and counted.
"""

from __future__ import annotations

import asyncio
import logging
import os
import select
import stat
import sys
import threading
import time
import traceback
from datetime import UTC, datetime
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from data_plane.telemetry.access_line import AccessLine

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from data_plane.telemetry.record import Record

FLUSH_INTERVAL_S: Final = 0.25
MAX_WAITING_LINES: Final = 20_000
"""Some 8 MB. More waiting means that nobody reads the log; then lines are dropped and counted."""

MADE_TOGETHER: Final = 32
"""Access lines that wait to be made, at most: together they take the loop some 0.1 ms."""

SAMPLED_PER_SECOND: Final = 10
"""Of one event that clients can provoke; more of it would be their way to fill the disk."""

_LEVELS: Final = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40}
_encode = msgspec.json.Encoder(enc_hook=str).encode


class Sink(Protocol):
    """Where lines go."""

    dropped: int

    def write(self, line: bytes) -> None:
        """Take one line."""

    def write_later(self, make: Callable[[], bytes]) -> None:
        """Take a line that need not be made at once."""

    def close(self) -> None:
        """Write what is left."""


class PlainSink:
    """Lines written at once, by whoever has no event loop to hold up and must not have threads."""

    def __init__(self, descriptor: int) -> None:
        self.dropped = 0
        self._descriptor = descriptor

    def write(self, line: bytes) -> None:
        """Write one line."""
        try:
            os.write(self._descriptor, line)
        except OSError:
            self.dropped += 1

    def write_later(self, make: Callable[[], bytes]) -> None:
        """Write one line."""
        self.write(make())

    def close(self) -> None:
        """Nothing is left."""


class LineSink:
    """Lines on their way to a file descriptor, written by a thread."""

    def __init__(self, descriptor: int, *, is_shared: bool = False) -> None:
        """With `is_shared`, other processes write there too: a pipe keeps only pieces of up to
        PIPE_BUF together.
        """
        self.dropped = 0
        self._in_pieces = is_shared and stat.S_ISFIFO(os.fstat(descriptor).st_mode)
        self._descriptor = descriptor
        self._waiting: list[bytes] = []
        self._unmade: list[Callable[[], bytes]] = []
        self._batches: SimpleQueue[list[bytes] | None] = SimpleQueue()
        self._in_thread = 0
        self._flush_handle: asyncio.TimerHandle | None = None
        self._writer = threading.Thread(target=self._drain, name="log-writer", daemon=True)
        self._writer.start()

    def write(self, line: bytes) -> None:
        """Take one line; it reaches the descriptor within `FLUSH_INTERVAL_S`."""
        self._make_all()
        self._take(line)
        if self._flush_handle is None:
            self._flush_soon()

    def write_later(self, make: Callable[[], bytes]) -> None:
        """The same, the line being made with others: so nobody waits for it who wants something
        else, and what makes it is warm in the caches for all but the first.
        """
        self._unmade.append(make)
        if self._flush_handle is None:
            self._flush_soon()
        elif len(self._unmade) >= MADE_TOGETHER:
            self._make_all()

    def _take(self, line: bytes) -> None:
        if len(self._waiting) + self._in_thread < MAX_WAITING_LINES:
            self._waiting.append(line)
        else:
            self.dropped += 1

    def _make_all(self) -> None:
        """Lines stay in their order."""
        if self._unmade:
            unmade, self._unmade = self._unmade, []
            for make in unmade:
                self._take(make())

    def _flush_soon(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:  # before the loop runs, after it has ended, or in another thread
            self.flush()
            return
        self._flush_handle = loop.call_later(FLUSH_INTERVAL_S, self.flush)

    def flush(self) -> None:
        """Hand what waits to the thread."""
        self._flush_handle = None
        self._make_all()
        batch, self._waiting = self._waiting, []
        if batch:
            self._in_thread += len(batch)
            self._batches.put(batch)

    def close(self) -> None:
        """Write what is left, for at most two seconds."""
        self.flush()
        self._batches.put(None)
        self._writer.join(timeout=2.0)

    def _drain(self) -> None:
        while (batch := self._batches.get()) is not None:
            try:
                for data in _pieces(batch) if self._in_pieces else (b"".join(batch),):
                    self._write_all(data)
            except OSError:  # a full disk or a closed pipe: serving matters more than its log
                self.dropped += len(batch)
            self._in_thread -= len(batch)

    def _write_all(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._descriptor, data) :]


def _pieces(batch: list[bytes]) -> Iterator[bytes]:
    """Whole lines, as many as a pipe takes in one go."""
    piece = b""
    for line in batch:
        if piece and len(piece) + len(line) > select.PIPE_BUF:
            yield piece
            piece = b""
        piece += line
    yield piece


class Log:
    """The log of one process. With several workers, each line says which one wrote it."""

    def __init__(self, sink: Sink, *, as_json: bool, level: str, worker: int = 0) -> None:
        self.sink = sink
        self._worker = {"worker": worker} if worker else {}
        self._format: Callable[[dict[str, Any]], bytes] = _json_line if as_json else _text_line
        self._threshold = _LEVELS[level]
        self._sampled: dict[str, tuple[int, int]] = {}

    def debug(self, event: str, **fields: object) -> None:
        """For whoever looks into one process."""
        self._event("debug", event, fields)

    def info(self, event: str, **fields: object) -> None:
        """A change of state."""
        self._event("info", event, fields)

    def warning(self, event: str, **fields: object) -> None:
        """Something is wrong that we live with."""
        self._event("warning", event, fields)

    def error(self, event: str, error: BaseException | None = None, **fields: object) -> None:
        """A fault of ours; with the traceback of `error`."""
        if error is not None:
            fields["traceback"] = "".join(traceback.format_exception(error))
        self._event("error", event, fields)

    def sampled(self, event: str, **fields: object) -> None:
        """An event that clients can provoke: at most `SAMPLED_PER_SECOND` lines of it a second."""
        second = int(time.monotonic())
        window, count = self._sampled.get(event, (second, 0))
        count = count + 1 if window == second else 1
        self._sampled[event] = (second, count)
        if count <= SAMPLED_PER_SECOND:
            self._event("info", event, fields)

    def _event(self, level: str, event: str, fields: dict[str, Any]) -> None:
        if _LEVELS[level.upper()] >= self._threshold:
            timestamp = _timestamp(time.time())
            told = {"timestamp": timestamp, "level": level, "event": event, **self._worker}
            self.sink.write(self._format({**told, **fields}))

    def access(self, record: Record, now: float) -> None:
        """The one line that every request gets."""
        if self._threshold <= logging.INFO:
            self.sink.write_later(partial(self._access_line, record, now, time.time()))

    def _access_line(self, record: Record, now: float, ended_at: float) -> bytes:
        """`ended_at` is in seconds since 1970, `now` on the loop's clock."""
        is_known, is_sent = bool(record.model), bool(record.node)
        line = AccessLine(
            _timestamp(ended_at),
            "info",
            "request",
            record.request_id,
            record.outcome,
            record.status,
            record.route,
            record.method,
            record.client,
            round(now - record.started_at, 6),
            record.bytes_in,
            record.bytes_out,
            self._worker.get("worker", 0),
            record.model,
            record.is_stream if is_known else None,
            record.node,
            record.node_id if is_sent else "",
            record.reason if is_sent else "",
            record.attempts if is_sent else 0,
            round(record.first_byte_at - record.started_at, 6) if record.first_byte_at else None,
            round(record.waited_s, 6) if record.waited_s else None,
            record.prompt_tokens,
            record.answer_tokens,
            record.key_id,
            record.code,
            record.detail,
            record.path if not record.route else "",
        )
        if self._format is _json_line:
            return _encode(line) + b"\n"
        return self._format(msgspec.to_builtins(line))


class _Bridge(logging.Handler):
    """What libraries say through `logging`, in our form."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        event, fields = "library_message", {"logger": record.name, "message": record.getMessage()}
        if record.levelno >= logging.ERROR:
            self._log.error(event, error, **fields)
        else:
            self._log.warning(event, **fields)


def plain_log(log_format: str, level: str) -> Log:
    """A log without a thread, for a process that forks."""
    return Log(PlainSink(sys.stdout.fileno()), as_json=_is_json(log_format), level=level)


def _is_json(log_format: str) -> bool:
    return log_format == "json" or (log_format == "auto" and not sys.stdout.isatty())


def start_log(log_format: str, level: str, worker: int = 0) -> Log:
    """The log of this process on standard output; other libraries' warnings join it."""
    sink = LineSink(sys.stdout.fileno(), is_shared=bool(worker))
    log = Log(sink, as_json=_is_json(log_format), level=level, worker=worker)
    logging.basicConfig(handlers=[_Bridge(log)], level=logging.WARNING, force=True)
    return log


_second: tuple[int, str] = (0, "")
_moment: tuple[int, str] = (0, "")


def _timestamp(now: float) -> str:
    """A moment to the millisecond, made once for all that falls into it; its second likewise."""
    global _second, _moment  # noqa: PLW0603 - memories of one value each
    milliseconds = int(now * 1_000)
    if _moment[0] != milliseconds:
        whole = milliseconds // 1_000
        if _second[0] != whole:
            _second = (whole, datetime.fromtimestamp(whole, UTC).strftime("%Y-%m-%dT%H:%M:%S"))
        _moment = (milliseconds, f"{_second[1]}.{milliseconds % 1_000:03d}Z")
    return _moment[1]


def _json_line(fields: dict[str, Any]) -> bytes:
    return _encode(fields) + b"\n"


def _text_line(fields: dict[str, Any]) -> bytes:
    rest = dict(fields)
    stamp, level, event = rest.pop("timestamp"), rest.pop("level"), rest.pop("event")
    trace = rest.pop("traceback", "")
    values = " ".join(
        f"{name}={value!r}" if isinstance(value, str) and " " in value else f"{name}={value}"
        for name, value in rest.items()
        if value is not None
    )
    return f"{stamp} {level:<7} {event} {values}\n{trace}".encode(errors="backslashreplace")
