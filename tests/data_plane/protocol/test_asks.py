"""What an ask is for, and which kinds take more than passing on what one node says."""

import pytest

from data_plane.protocol.ask import parse
from data_plane.protocol.asks import DETOURS, Ask, Form
from data_plane.protocol.matching import lookup


@pytest.mark.parametrize(
    ("path", "body", "form"),
    [
        ("/api/chat", b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', Form.RUN),
        ("/api/chat", b'{"model":"m"}', Form.LOAD),
        ("/api/generate", b'{"model":"m","keep_alive":0}', Form.UNLOAD),
        ("/api/show", b'{"model":"m"}', Form.SHOW),
        ("/api/embed", b'{"model":"m","input":[%b]}' % b",".join([b'"a"'] * 64), Form.BATCH),
    ],
)
def test_only_what_runs_a_model_goes_straight_to_one_node(path, body, form) -> None:
    ask = parse(lookup("POST", path).route, body, max_body_bytes=10_000)
    assert ask.form is form
    assert (ask.form in DETOURS) is (form is not Form.RUN)


def test_a_part_differs_in_its_body_alone() -> None:
    body = b'{"model":"m","input":["a"]}'
    ask = parse(lookup("POST", "/api/embed").route, body, max_body_bytes=100)
    part = ask.part(b"{}")
    assert (ask.body, part.body) == (body, b"{}")
    names = [name for name in dir(Ask) if not name.startswith("_")]
    assert {"route", "least", "content_type"} < set(names)
    assert [name for name in names if getattr(ask, name) != getattr(part, name)] == ["body", "part"]
