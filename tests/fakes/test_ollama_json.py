"""JSON as Go reads it: the rules that a proxy in Python gets wrong when it does not know them."""

import pytest
from fakes.ollama_json import BodyError, dump, read_object

FIELDS = {"model": "string", "keep_alive": "any", "messages": "array"}


def read(body: str) -> dict[str, object]:
    return read_object(body.encode(), FIELDS, "ChatRequest", "missing request body")


@pytest.mark.parametrize(
    ("body", "model"),
    [
        ('{"model":"a","Model":"b"}', "b"),
        ('{"Model":"b","model":"a"}', "a"),
        ('{"Model":"x","model":"a","Model":"c"}', "c"),
        ('{"model":"a","MODEL":null}', "a"),
        ('{"MODEL":"a"} trailing', "a"),
    ],
)
def test_the_last_spelling_wins(body, model):
    assert read(body)["model"] == model


def test_folding_is_simple_folding():
    assert read('{"\u212aeep_alive":1}') == {"keep_alive": 1}
    assert read('{"me\u00dfages":[]}') == {}, "a sharp s is no ss"
    assert read('{"me\u017f\u017fages":[]}') == {"messages": []}


def test_unknown_keys_are_ignored_and_null_is_no_object():
    assert read('{"unknown":1}') == {}
    assert read("null") == {}


@pytest.mark.parametrize("body", ["", "[]", "1", '{"model":5}', '{"a":NaN}', '{"a"', "{'a':1}"])
def test_what_go_cannot_decode_is_an_error(body):
    with pytest.raises(BodyError):
        read(body)


def test_output_is_compact_and_escaped():
    assert dump({"a": ["<é>", 1]}) == '{"a":["\\u003cé\\u003e",1]}'.encode()
