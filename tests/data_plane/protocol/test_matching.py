"""A target finds its row in the table, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.matching import (
    NoRouteError,
    WrongMethodError,
    dialect_of,
    lookup,
    redacted,
)
from data_plane.protocol.routes import OPEN_ENDED, ROUTES, Action, Dialect


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
