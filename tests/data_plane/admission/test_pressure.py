"""When memory is short, and when it is no longer."""

from pathlib import Path

import pytest

from data_plane.admission.gate import Gate
from data_plane.admission.pressure import MemoryPressure
from data_plane.host.memory import MemoryLimits
from data_plane.telemetry.logs import Log
from data_plane.telemetry.metrics import Metrics
from tests.data_plane.conftest import MemorySink


class Watched:
    """A process in a cgroup of 1,000 bytes."""

    def __init__(self, directory: Path) -> None:
        self.group = directory
        (directory / "cgroup").write_text("0::/\n")
        (directory / "memory.max").write_text("1000\n")
        (directory / "memory.stat").write_text("anon 0\n")
        self.gate = Gate(0, 0, directory, max_active=100, max_connections=1)
        self.sink = MemorySink()
        self.metrics = Metrics()
        self.pressure = MemoryPressure(
            MemoryLimits(None, cgroups=directory, process=directory),
            self.gate,
            Log(self.sink, as_json=True, level="INFO"),
            self.metrics,
        )

    def uses(self, size: int) -> bool:
        """Whether memory is short then."""
        (self.group / "memory.current").write_text(f"{size}\n")
        self.pressure.look()
        return self.gate.is_memory_short


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def test_short_from_85_percent_until_80(watched) -> None:
    """F66."""
    assert [watched.uses(size) for size in (849, 850, 801, 990, 800, 799, 849, 850)] == [
        *(False, True, True, True, True, False, False, True)
    ]


def test_each_change_is_one_line_and_the_metrics_say_where_it_stands(watched) -> None:
    """F66."""
    for size in (100, 900, 901, 902, 100, 100):
        watched.uses(size)
    lines = watched.sink.lines
    assert [(line["event"], line["level"]) for line in lines] == [
        ("memory_short", "warning"),
        ("memory_suffices", "info"),
    ]
    assert (lines[0]["used_bytes"], lines[0]["limit_bytes"]) == (900, 1000)
    watched.uses(900)
    text = watched.metrics.exposition().decode()
    assert "aivonx_memory_used_ratio 0.9\n" in text
    assert "aivonx_memory_short 1.0\n" in text


def test_what_is_short_takes_one_request_at_a_time(watched) -> None:
    """F66: with nothing under way nothing would ever give memory back."""
    watched.uses(900)
    assert watched.pressure.why_not_ready()
    watched.gate.in_flight = 1
    assert not watched.gate.is_full
    watched.gate.in_flight = 2
    assert watched.gate.is_full
    watched.uses(100)
    assert not watched.pressure.why_not_ready()
    watched.gate.in_flight = 100
    assert not watched.gate.is_full
    watched.gate.in_flight = 101
    assert watched.gate.is_full


def test_a_limit_that_is_lifted_ends_it(watched) -> None:
    """F66."""
    assert watched.uses(900)
    (watched.group / "memory.max").write_text("max\n")
    assert not watched.uses(900)
