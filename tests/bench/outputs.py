"""What the load tools print, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass


class UnreadableError(Exception):
    """A load tool printed something else than a result: it failed."""


@dataclass(frozen=True)
class Requests:
    """One run of wrk."""

    count: int
    per_s: float
    errors: int


@dataclass(frozen=True)
class Streams:
    """One run of streamload. Times in microseconds; None when there was not one sample."""

    seconds: float
    chunks: int
    errors: int
    delay_p50: float | None
    delay_p99: float | None
    ttft_p50: float | None
    ttft_p99: float | None


def requests(text: str) -> Requests:
    """Read wrk's summary. An error is any answer but 2xx and 3xx, and any fault of a socket."""
    sockets = re.search(
        r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text
    )
    refused = _maybe(r"Non-2xx or 3xx responses: (\d+)", text) or 0
    return Requests(
        count=int(_number(r"(\d+) requests in", text)),
        per_s=_number(r"Requests/sec:\s+([\d.]+)", text),
        errors=int(refused) + sum(map(int, sockets.groups()) if sockets else ()),
    )


def streams(text: str) -> Streams:
    """Read streamload's line. A stream that stayed silent while it was measured is an error too."""
    return Streams(
        seconds=_number(r"seconds ([\d.]+)", text),
        chunks=int(_number(r"chunks (\d+)", text)),
        errors=int(_number(r"errors (\d+)", text) + _number(r"silent (\d+)", text)),
        delay_p50=_maybe(r"delay_us p50 (-?[\d.]+)", text),
        delay_p99=_maybe(r"delay_us p50 \S+ p99 (-?[\d.]+)", text),
        ttft_p50=_maybe(r"ttft_us p50 (-?[\d.]+)", text),
        ttft_p99=_maybe(r"ttft_us p50 \S+ p99 (-?[\d.]+)", text),
    )


def _maybe(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return float(match[1]) if match else None


def _number(pattern: str, text: str) -> float:
    value = _maybe(pattern, text)
    if value is None:
        raise UnreadableError(f"a load tool did not print {pattern!r}: {text[:300]!r}")
    return value
