from __future__ import annotations

import pytest
import structlog
from structlog.testing import capture_logs

from control_plane.common import middleware


@pytest.fixture
def lines(monkeypatch):
    with capture_logs() as captured:
        # The module's logger keeps its processors from its first use on.
        monkeypatch.setattr(middleware, "log", structlog.get_logger("test"))
        yield captured


def requests_in(lines: list) -> list:
    return [line for line in lines if line["event"] == "request"]


def test_the_callers_id_is_echoed(as_nobody):
    """S39."""
    assert as_nobody.get("/livez", HTTP_X_REQUEST_ID="mine-1")["X-Request-ID"] == "mine-1"


def test_an_id_is_made_for_whoever_sends_none_or_nonsense(as_nobody):
    first = as_nobody.get("/livez", HTTP_X_REQUEST_ID="not an id")["X-Request-ID"]
    assert len(first) == 24
    assert first != as_nobody.get("/livez")["X-Request-ID"]


def test_each_request_is_one_line_without_its_query(lines, as_nobody):
    as_nobody.get("/nope?password=hunter2")
    [line] = requests_in(lines)
    assert line["path"] == "/nope"
    assert (line["method"], line["status"], line["ip"]) == ("GET", 404, "127.0.0.1")
    assert line["log_level"] == "info"
    assert "hunter2" not in str(lines)


def test_what_machines_ask_all_day_is_told_at_level_debug(lines, as_nobody):
    as_nobody.get("/livez")
    assert [line["log_level"] for line in requests_in(lines)] == ["debug"]


def test_a_line_break_in_the_path_stays_in_the_line(lines, as_nobody):
    """C31."""
    as_nobody.get("/a%0d%0aforged")
    [line] = requests_in(lines)
    assert line["path"] == "/a\r\nforged"  # the JSON renderer escapes it
