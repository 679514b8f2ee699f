"""The table of endpoints, and how a target finds its row."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.routes import (
    OPEN_ENDED,
    ROUTES,
    Access,
    Action,
    Dialect,
    Framing,
    NoRouteError,
    WrongMethodError,
    dialect_of,
    lookup,
    redacted,
)

INFERENCE = [
    ("/api/generate", Dialect.NATIVE, Framing.NDJSON, True),
    ("/api/chat", Dialect.NATIVE, Framing.NDJSON, True),
    ("/api/embed", Dialect.NATIVE, Framing.NONE, False),
    ("/api/embeddings", Dialect.NATIVE, Framing.NONE, False),
    ("/v1/chat/completions", Dialect.OPENAI, Framing.SSE_OPENAI, False),
    ("/v1/completions", Dialect.OPENAI, Framing.SSE_OPENAI, False),
    ("/v1/embeddings", Dialect.OPENAI, Framing.NONE, False),
    ("/v1/responses", Dialect.OPENAI, Framing.SSE_RESPONSES, False),
    ("/v1/messages", Dialect.ANTHROPIC, Framing.SSE_ANTHROPIC, False),
]


@pytest.mark.parametrize(("path", "dialect", "framing", "streams"), INFERENCE)
def test_an_inference_route_knows_its_dialect_and_its_stream(path, dialect, framing, streams):
    route = lookup("POST", path).route
    assert (route.action, route.access) == (Action.INFER, Access.INFERENCE)
    assert (route.dialect, route.framing, route.streams_by_default) == (dialect, framing, streams)
    assert route.replayable


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/pull"),
        ("POST", "/api/push"),
        ("POST", "/api/create"),
        ("POST", "/api/copy"),
        ("DELETE", "/api/delete"),
        ("HEAD", "/api/blobs/sha256:abc"),
        ("POST", "/api/blobs/sha256:abc"),
    ],
)
def test_what_changes_nodes_is_managed_by_operators_and_never_replayed(method, path):
    route = lookup(method, path).route
    assert (route.action, route.access) == (Action.MANAGE, Access.OPERATOR)
    assert not route.replayable


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/api/me"),
        ("POST", "/api/signout"),
        ("DELETE", "/api/user/keys/abc"),
        ("POST", "/api/experimental/web_search"),
        ("POST", "/api/experimental/web_fetch"),
    ],
)
def test_what_is_about_one_node_is_never_replayed(method, path):
    route = lookup(method, path).route
    assert (route.action, route.access) == (Action.ONE_NODE, Access.OPERATOR)
    assert not route.replayable


def test_no_route_but_inference_and_show_may_be_replayed():
    replayable = {route.action for route in (*ROUTES, *OPEN_ENDED) if route.replayable}
    assert replayable == {Action.INFER, Action.SHOW}


@pytest.mark.parametrize("path", ["/", "/api/version", "/api/tags", "/api/ps", "/v1/models"])
def test_head_is_answered_where_get_is(path):
    assert lookup("HEAD", path).route is lookup("GET", path).route


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/api/chat?beta=true", "/api/chat"),
        ("/api/chat#top", "/api/chat"),
        ("//api//chat", "/api/chat"),
        ("/api/chat/", "/api/chat"),
        ("/api/chat//", "/api/chat"),
    ],
)
def test_a_query_doubled_slashes_and_a_slash_at_the_end_do_not_count(target, path):
    assert lookup("POST", target).route.path == path


@pytest.mark.parametrize(
    "target",
    [
        "/api/%2e%2e/api/delete", "/api/../api/chat", "/api/./chat", "/api%2fchat", "/api/chat;a=b",
        "/api/chat%00", "/api/%2525", "/API/CHAT", "/api/chat\\", "/api/foo", "/debug/vars",
        "/debug/pprof", "/v1", "/v1/images/generations", "/v1/messages/count_tokens", "", "*",
        "api/chat", "/api/blobs", "/api/blobs/", "/api/blobs/a/b", "/k", "/k/",
        "/api/user/keys/", "/k/a/k/b/api/tags",
    ],
)  # fmt: skip
def test_what_is_not_in_the_table_is_not_found(target):
    with pytest.raises(NoRouteError):
        lookup("POST", target)


def test_a_name_that_is_no_utf8_is_not_found():
    with pytest.raises(NoRouteError):
        lookup("GET", "/v1/models/%ff")


@given(st.text(max_size=60))
def test_no_text_breaks_the_lookup(text):
    try:
        match = lookup("GET", "/" + text)
    except (NoRouteError, WrongMethodError):
        return
    assert match.route in (*ROUTES, *OPEN_ENDED)


def test_a_wrong_method_is_told_which_are_right():
    with pytest.raises(WrongMethodError) as caught:
        lookup("DELETE", "/api/tags")
    assert caught.value.allow == "GET, HEAD, OPTIONS"


@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "get", "PROPFIND", "GET"])
def test_other_methods_are_wrong_on_an_inference_route(method):
    with pytest.raises(WrongMethodError):
        lookup(method, "/api/chat")


def test_options_is_answered_on_every_path():
    match = lookup("OPTIONS", "/v1/messages")
    assert (match.route.action, match.allow) == (Action.OPTIONS, "POST, OPTIONS")


def test_a_key_prefix_is_split_off_and_leaves_the_route():
    match = lookup("POST", "/k/olp_secret/api/chat")
    assert (match.key, match.route.path) == ("olp_secret", "/api/chat")


def test_a_bare_key_prefix_is_the_root_as_the_cli_asks_for_it():
    match = lookup("HEAD", "/k/olp_secret/")
    assert (match.key, match.route.action) == ("olp_secret", Action.ROOT)


def test_without_a_prefix_there_is_no_key():
    assert lookup("GET", "/api/tags").key is None


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("/v1/models/llama3", "llama3"),
        ("/v1/models/hf.co/org/model:Q4", "hf.co/org/model:Q4"),
        ("/v1/models/hf.co%2Forg%2Fmodel%3AQ4", "hf.co/org/model:Q4"),
        ("/k/key/v1/models/me/mine", "me/mine"),
    ],
)
def test_a_model_in_the_path_may_hold_slashes_and_escapes(target, name):
    match = lookup("GET", target)
    assert (match.route.action, match.name) == (Action.MODEL, name)


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/api/generate", "model 'Foo' not found"),
        ("/api/chat", "model 'Foo' not found"),
        ("/v1/chat/completions", "model 'Foo' not found"),
        ("/v1/messages", "model 'Foo' not found"),
        ("/api/embed", 'model "Foo" not found, try pulling it first'),
        ("/api/embeddings", 'model "Foo" not found, try pulling it first'),
        ("/v1/embeddings", 'model "Foo" not found, try pulling it first'),
        ("/api/show", "model 'Foo:latest' not found"),
    ],
)
def test_each_route_has_its_own_sentence_for_an_unknown_model(path, text):
    assert lookup("POST", path).route.unknown_model("Foo") == text


def test_show_repeats_a_name_that_is_none():
    assert lookup("POST", "/api/show").route.unknown_model("../x") == "model '../x' not found"


@pytest.mark.parametrize(
    ("target", "dialect"),
    [
        ("/v1/messages/count_tokens", Dialect.ANTHROPIC),
        ("/k/key/v1/messages", Dialect.ANTHROPIC),
        ("/v1/files", Dialect.OPENAI),
        ("/anything", Dialect.NATIVE),
    ],
)
def test_without_a_route_the_path_tells_the_dialect(target, dialect):
    assert dialect_of(target) is dialect


def test_a_redacted_target_shows_neither_key_nor_query():
    assert redacted("/k/olp_secret/api/tags?token=x") == "/k/***/api/tags"
    assert redacted("/api/tags?token=x") == "/api/tags"


def test_a_key_in_the_wrong_place_is_redacted_too():
    assert redacted("/api/tags/olp_id_secret_check") == "/api/tags/***"
    assert redacted("/olp_id_secret_check/api/tags") == "/***/api/tags"
