"""What is measured of one proxy, and how it is shown."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

SATURATED = 0.9  # share of the load core from which on req/s is a figure of the load, not the proxy
_CELL = 17
_LABEL = 24
_RATIO_DIGITS = 3  # significant ones: nobody needs 707.65x


@dataclass(frozen=True)
class Figures:
    """One column of the table. Microseconds and bytes; None: not measured."""

    name: str
    path: str
    cpu_per_request_us: float | None = None
    requests_per_s: float | None = None
    load_busy: float | None = None
    cpu_per_chunk_us: float | None = None
    chunk_delay_p50_us: float | None = None
    chunk_delay_p99_us: float | None = None
    ttft_added_p50_us: float | None = None
    ttft_added_p99_us: float | None = None
    cpu_per_body_us: float | None = None
    open_streams: int | None = None
    open_stream_bytes: float | None = None
    open_cpu_per_chunk_us: float | None = None
    open_delay_p50_us: float | None = None
    open_delay_p99_us: float | None = None
    core_slowness: float | None = None
    stolen_percent: float | None = None
    choosing_6_us: float | None = None
    choosing_100_us: float | None = None
    errors: int = 0

    def value(self, measure: str) -> float | None:
        """One of the figures by its name; ValueError for a name that there is not."""
        if measure not in {field.name for field in fields(self)} - {"name", "path"}:
            raise ValueError(f"there is no measure {measure!r}")
        return getattr(self, measure)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    measure: str
    label: str
    scale: float = 1.0
    digits: int = 1
    is_compared: bool = True


ROWS = (
    Row("cpu_per_request_us", "CPU µs/request"),
    Row("requests_per_s", "requests/s", digits=0),
    Row("cpu_per_chunk_us", "CPU µs/chunk"),
    Row("chunk_delay_p50_us", "chunk delay p50 µs", digits=0),
    Row("chunk_delay_p99_us", "chunk delay p99 µs", digits=0),
    Row("ttft_added_p50_us", "TTFT added p50 µs", digits=0),
    Row("ttft_added_p99_us", "TTFT added p99 µs", digits=0),
    Row("cpu_per_body_us", "CPU µs/600 KB body", digits=0),
    Row("open_streams", "streams held open", digits=0, is_compared=False),
    Row("open_stream_bytes", "  KB each", scale=1000),
    Row("open_cpu_per_chunk_us", "  CPU µs/chunk"),
    Row("open_delay_p50_us", "  chunk delay p50 µs", digits=0),
    Row("open_delay_p99_us", "  chunk delay p99 µs", digits=0),
    Row("choosing_6_us", "choosing of 6, p50 µs", is_compared=False),
    Row("choosing_100_us", "  of 100, p99 µs", is_compared=False),
    Row("errors", "errors", digits=0, is_compared=False),
    Row("core_slowness", "slowness of the core", digits=2, is_compared=False),
    Row("stolen_percent", "stolen by the host, %", digits=1, is_compared=False),
)


def table(columns: Sequence[Figures], base: str) -> str:
    """Measures down, proxies across; each value beside its ratio to the base's."""
    reference = next((column for column in columns if column.name == base), None)
    lines = [f"{'':{_LABEL}}" + "".join(f"{column.name:>{_CELL}}" for column in columns)]
    for row in ROWS:
        values = [column.value(row.measure) for column in columns]
        if any(value is not None for value in values):
            cells = (_cell(row, value, reference) for value in values)
            lines.append(f"{row.label:{_LABEL}}" + "".join(f"{cell:>{_CELL}}" for cell in cells))
    loaded = [
        column.name for column in columns if column.load_busy and column.load_busy > SATURATED
    ]
    if loaded:
        lines.append(f"(the load had no core left for more requests/s: {', '.join(loaded)})")
    return "\n".join(lines)


def _cell(row: Row, value: float | None, reference: Figures | None) -> str:
    if value is None:
        return "-"
    text = f"{value / row.scale:,.{row.digits}f}"
    base = reference.value(row.measure) if reference else None
    # A ratio to nothing, or of a difference below zero, says nothing.
    is_ratio = row.is_compared and base is not None and base > 0 <= value
    return f"{text} {_ratio(value / base):>5}x" if is_ratio else text


def _ratio(value: float) -> str:
    before_the_point = len(str(int(abs(value))))
    return f"{value:.{max(0, _RATIO_DIGITS - before_the_point)}f}"
