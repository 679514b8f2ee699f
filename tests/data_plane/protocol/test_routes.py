"""The table of endpoints: what each one is."""

import pytest

from data_plane.protocol.matching import (
    lookup,
)
from data_plane.protocol.routes import OPEN_ENDED, ROUTES, Access, Action, Dialect, Framing

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
