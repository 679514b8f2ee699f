"""A body becomes an Ask with one model in it, or an error in the words of its route."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.ask import parse
from data_plane.protocol.asks import Form
from data_plane.protocol.matching import lookup
from data_plane.protocol.mistakes import BadRequestError
from shared.model_names import Source

LLAMA3 = "registry.ollama.ai/library/llama3:latest"


def ask(body, path="/api/chat", limit=10_000_000):
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse(lookup("POST", path).route, data, max_body_bytes=limit)


def refused(body, path="/api/chat", limit=10_000_000):
    with pytest.raises(BadRequestError) as caught:
        ask(body, path, limit)
    return caught.value


def test_a_plain_body_passes_byte_for_byte():
    body = b'{"model":"llama3","messages":[{"role":"user","content":"hi"}],"stream":true}'
    assert ask(body).body == body


def test_the_model_is_kept_as_sent_and_judged_by_its_canonical_name():
    got = ask({"model": "LLAMA3", "messages": [{}]})
    assert (got.model, got.canonical, got.source) == ("LLAMA3", LLAMA3, Source.ANY)


def test_values_keep_their_order_and_their_spelling():
    body = b'{"b":{"z":1e2,"a":1.0},"model":"a","n":12345678901234567890123456789,"a":-0}'
    assert ask(body).body == body


def test_a_key_in_another_spelling_becomes_the_known_one():
    got = ask({"MODEL": "llama3", "Stream": False})
    assert (got.model, got.streaming) == ("llama3", False)
    assert json.loads(got.body) == {"model": "llama3", "stream": False}


@pytest.mark.parametrize(
    "body",
    [
        '{"model":"a","Model":"b"}',
        '{"model":"a","model":"b"}',
        '{"model":"a","\\u006dodel":"b"}',
        '{"model":"a","stream":true,"\u017ftream":false}',
        '{"model":"a","keep_alive":1,"\u212aeep_alive":0}',
        '{"model":"a","other":1,"OTHER":2}',
    ],
)
def test_keys_that_go_would_take_for_one_are_refused(body):
    error = refused(body.encode())
    assert (error.status, error.code) == (400, "duplicate_key")


def test_the_long_s_and_the_kelvin_sign_are_folded_as_go_does():
    got = ask('{"model":"a","\u017ftream":false,"\u212aeep_alive":0}'.encode())
    assert json.loads(got.body) == {"model": "a", "stream": False, "keep_alive": 0}


KNOWN = st.sampled_from(["model", "stream", "keep_alive", "other"])


@given(
    st.lists(st.tuples(KNOWN, st.lists(st.booleans(), min_size=10, max_size=10)), max_size=6),
)
def test_whatever_the_spelling_one_model_reaches_the_node(spellings):
    keys = [
        "".join(c.upper() if up else c for c, up in zip(word, flags, strict=False))
        for word, flags in spellings
    ]
    body = "{" + ",".join(f'"{key}":"m{index}"' for index, key in enumerate(keys)) + "}"
    try:
        got = ask(body.encode(), "/api/embed")
    except BadRequestError:
        return
    pairs = json.loads(got.body, object_pairs_hook=list)
    assert [value for key, value in pairs if key.casefold() == "model"] == [got.model]


@given(st.binary(max_size=200))
def test_no_bytes_break_the_parser(data):
    assert refused(data).status == 400


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


@given(JSON_VALUES)
def test_values_that_are_of_no_concern_pass_unchanged(value):
    got = ask(json.dumps({"model": "llama3", "extra": value}).encode())
    assert json.loads(got.body) == {"model": "llama3", "extra": value}


@pytest.mark.parametrize("body", [b"", b"  \n"])
def test_an_empty_body_is_missing_natively_and_eof_elsewhere(body):
    assert refused(body).detail == "missing request body"
    assert refused(body, "/v1/chat/completions").detail == "EOF"


MISSING = [b"{}", b'{"model":""}', b'{"model":null}', b'{"model":"  "}']


@pytest.mark.parametrize("body", MISSING)
@pytest.mark.parametrize("path", ["/api/generate", "/v1/completions", "/api/embed"])
def test_some_routes_do_not_find_an_empty_model(path, body):
    error = refused(body, path)
    assert (error.status, error.code) == (404, "model_not_found")


def test_generate_says_that_an_empty_model_is_not_found():
    assert refused(b"{}", "/api/generate").detail == "model '' not found"


@pytest.mark.parametrize("body", MISSING)
@pytest.mark.parametrize("path", ["/api/chat", "/api/show", "/v1/responses", "/v1/messages"])
def test_other_routes_say_that_a_model_is_required(path, body):
    error = refused(body, path)
    assert (error.status, error.detail) == (400, "model is required")


@pytest.mark.parametrize(
    ("value", "kind"),
    [(1, "number"), (-1.5, "number"), ([], "array"), ({}, "object"), (True, "bool")],
)
def test_a_model_of_another_type_is_refused_in_the_words_of_go(value, kind):
    error = refused({"model": value})
    assert (error.status, error.code) == (400, "invalid_model")
    assert error.detail == (
        f"json: cannot unmarshal {kind} into Go struct field ChatRequest.model of type string"
    )


@pytest.mark.parametrize("name", ["../x", "a b", "a" * 600, "a\x00", "ä", "a:", "x" * 5_000])
def test_a_name_that_is_none_is_refused(name):
    error = refused({"model": name})
    assert (error.status, error.code, error.detail) == (400, "invalid_model", "invalid model name")


def test_local_and_cloud_at_once_are_refused():
    assert refused({"model": "a:local:cloud"}).detail == "use either :local or :cloud, not both"


def test_a_local_suffix_is_no_part_of_the_name():
    got = ask({"model": "llama3:local"})
    assert (got.canonical, got.source, got.model) == (LLAMA3, Source.LOCAL, "llama3:local")


def test_a_cloud_model_is_another_model_than_the_local_one():
    got = ask({"model": "llama3:Cloud"})
    assert (got.canonical, got.source) == ("registry.ollama.ai/library/llama3:cloud", Source.CLOUD)


def test_show_takes_the_old_name_when_model_is_empty_as_the_cli_sends_it():
    got = ask({"model": "", "name": "llama3", "verbose": True}, "/api/show")
    assert got.model == "llama3"
    assert json.loads(got.body) == {"model": "llama3", "verbose": True}


def test_name_is_an_ordinary_key_elsewhere():
    assert refused({"name": "llama3"}).detail == "model is required"


@pytest.mark.parametrize(
    ("path", "default"), [("/api/chat", True), ("/v1/messages", False), ("/v1/responses", False)]
)
@pytest.mark.parametrize("sent", [{}, {"stream": None}])
def test_without_stream_the_dialect_decides(path, default, sent):
    assert ask({"model": "a", **sent}, path).streaming is default


@pytest.mark.parametrize("value", ["true", 1, 0, [], {}])
def test_stream_must_be_a_boolean(value):
    error = refused({"model": "a", "stream": value}, "/v1/chat/completions")
    assert (error.status, error.code) == (400, "invalid_request")
    assert error.detail.endswith("ChatCompletionRequest.stream of type bool")


def test_embeddings_never_stream_and_do_not_mind():
    assert ask({"model": "a", "stream": "yes"}, "/api/embed").streaming is False


@pytest.mark.parametrize(
    ("path", "body", "form"),
    [
        ("/api/generate", {"prompt": "hi", "keep_alive": 0}, Form.RUN),
        ("/api/generate", {}, Form.LOAD),
        ("/api/generate", {"prompt": "", "keep_alive": 300}, Form.LOAD),
        ("/api/generate", {"prompt": None, "keep_alive": 0}, Form.UNLOAD),
        ("/api/generate", {"keep_alive": "0s"}, Form.UNLOAD),
        ("/api/generate", {"keep_alive": "0h0m0.0s"}, Form.UNLOAD),
        ("/api/generate", {"keep_alive": 0.0}, Form.UNLOAD),
        ("/api/generate", {"keep_alive": "10m"}, Form.LOAD),
        ("/api/generate", {"keep_alive": -1}, Form.LOAD),
        ("/api/generate", {"keep_alive": False}, Form.LOAD),
        ("/api/generate", {"keep_alive": ""}, Form.LOAD),
        ("/api/chat", {"messages": [], "keep_alive": 0}, Form.UNLOAD),
        ("/api/chat", {"messages": [{}], "keep_alive": 0}, Form.RUN),
        ("/api/chat", {"messages": None}, Form.LOAD),
        ("/v1/chat/completions", {"keep_alive": 0}, Form.RUN),
    ],
)
def test_native_requests_without_a_prompt_load_or_unload(path, body, form):
    assert ask({"model": "a", **body}, path).form is form


def test_white_space_within_an_empty_list_of_messages_does_not_count():
    assert ask(b'{"model":"a","messages":[ \n ],"keep_alive":0}').form is Form.UNLOAD


def test_a_body_over_the_limit_is_too_large():
    error = refused({"model": "a"}, limit=5)
    assert (error.status, error.code) == (413, "payload_too_large")


@pytest.mark.parametrize(
    "name",
    ["llama3", "LLAMA3", "llama3:latest", "library/llama3", "registry.ollama.ai/library/llama3"],
)
def test_every_spelling_of_a_model_is_judged_as_one(name):
    assert ask({"model": name}).canonical == LLAMA3


def test_an_escaped_name_is_judged_and_sent_as_what_it_says():
    got = ask(b'{"model":"llam\\u0061" }')
    assert (got.model, got.body) == ("llama", b'{"model":"llama"}')
