"""What the load tools print, as values."""

from __future__ import annotations

import re
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    """One window of streamload, or several. Microseconds; None: not one sample."""

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


def streams(text: str) -> list[Streams]:
    """Read streamload's windows. A stream that stayed silent through one is an error too."""
    windows = [_window(line) for line in text.splitlines() if line.startswith("window ")]
    if not windows:
        raise UnreadableError(f"streamload printed no window: {text[:300]!r}")
    return windows


def _window(line: str) -> Streams:
    return Streams(
        seconds=_number(r"seconds ([\d.]+)", line),
        chunks=int(_number(r"chunks (\d+)", line)),
        errors=int(_number(r"errors (\d+)", line) + _number(r"silent (\d+)", line)),
        delay_p50=_maybe(r"delay_us p50 (-?[\d.]+)", line),
        delay_p99=_maybe(r"delay_us p50 \S+ p99 (-?[\d.]+)", line),
        ttft_p50=_maybe(r"ttft_us p50 (-?[\d.]+)", line),
        ttft_p99=_maybe(r"ttft_us p50 \S+ p99 (-?[\d.]+)", line),
    )


def middle(windows: Sequence[Streams]) -> Streams:
    """The windows as one: sums of what was counted, medians of the delays."""

    def median(name: str) -> float | None:
        values = [value for each in windows if (value := getattr(each, name)) is not None]
        return statistics.median(values) if values else None

    return Streams(
        seconds=sum(each.seconds for each in windows),
        chunks=sum(each.chunks for each in windows),
        errors=sum(each.errors for each in windows),
        delay_p50=median("delay_p50"),
        delay_p99=median("delay_p99"),
        ttft_p50=median("ttft_p50"),
        ttft_p99=median("ttft_p99"),
    )


def _maybe(pattern: str, text: str) -> float | None:
    match = re.search(pattern, text)
    return float(match[1]) if match else None


def _number(pattern: str, text: str) -> float:
    value = _maybe(pattern, text)
    if value is None:
        raise UnreadableError(f"a load tool did not print {pattern!r}: {text[:300]!r}")
    return value
