from __future__ import annotations

import io
import json
import logging

import pytest

from control_plane.common.logs import logging_config
from control_plane.common.requests import request_id_enter


def rendered(config: dict, **extra: object) -> str:
    """One line of a logger of Django's or a library's, as the configuration renders it."""
    formatter_config = dict(config["formatters"]["structured"])
    formatter = formatter_config.pop("()")(**formatter_config)
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    record = logging.LogRecord("some.package", logging.WARNING, "f", 1, "said %s", ("it",), None)
    record.__dict__.update(extra)
    handler.emit(record)
    return stream.getvalue()


def test_lines_of_libraries_are_json_with_the_request_id():
    request_id_enter("req-7")
    line = json.loads(rendered(logging_config("json", "INFO")))
    assert line["event"] == "said it"
    assert line["logger"] == "some.package"
    assert line["level"] == "warning"
    assert line["request_id"] == "req-7"


def test_prose_is_no_json():
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(rendered(logging_config("text", "INFO")))


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_what_a_client_wrote_stays_within_its_line(log_format):
    """C31: no line of its own, and nothing that a terminal obeys."""
    config = logging_config(log_format, "INFO")["formatters"]["structured"]
    renderer = config["processors"][-1]
    path = "/a\r\nforged\x1b[2J"
    line = renderer(None, "info", {"event": "request", "level": "info", "path": path})
    assert "\n" not in line
    assert "\r" not in line
    assert "\x1b[2J" not in line
    assert "forged" in line


def test_a_traceback_is_one_line_of_json():
    with pytest.raises(RuntimeError) as caught:
        raise RuntimeError("first\nsecond")
    error = (caught.type, caught.value, caught.tb)
    text = rendered(logging_config("json", "INFO"), exc_info=error)
    assert text.count("\n") == 1
    assert "RuntimeError" in json.loads(text)["exception"]


def test_the_level_is_what_was_asked_for():
    assert logging_config("json", "ERROR")["root"]["level"] == "ERROR"
