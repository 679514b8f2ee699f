"""What an ask is for, and which kinds take more than passing on what one node says."""

import pytest

from data_plane.protocol.ask import parse
from data_plane.protocol.asks import DETOURS, Form
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


def test_an_ask_stays_what_was_judged() -> None:
    ask = parse(lookup("POST", "/api/show").route, b'{"model":"m"}', max_body_bytes=100)
    with pytest.raises(AttributeError):
        ask.canonical = "another"
