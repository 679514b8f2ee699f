"""What a request needs of a node's version: reference 8."""

import json

import pytest

from data_plane.protocol.ask import parse
from data_plane.protocol.features import FIELDS, ROUTES
from data_plane.protocol.matching import lookup
from shared.releases import ANY_RELEASE


def least(path, **fields):
    body = json.dumps({"model": "llama3.2", **fields}).encode()
    return parse(lookup("POST", path).route, body, max_body_bytes=10_000).least


@pytest.mark.parametrize(
    ("path", "fields", "release"),
    [
        ("/api/chat", {"messages": []}, ANY_RELEASE),
        ("/api/chat", {"think": False}, (0, 9, 0)),
        ("/api/chat", {"THINK": True}, (0, 9, 0)),
        ("/api/generate", {"_debug_render_only": True}, (0, 11, 5)),
        ("/api/generate", {"shift": False, "think": True}, (0, 12, 4)),
        ("/api/embed", {"truncate": True}, ANY_RELEASE),
        ("/api/chat", {"logprobs": True, "think": True}, (0, 12, 11)),
        ("/v1/chat/completions", {"top_logprobs": 2}, (0, 12, 11)),
        ("/v1/chat/completions", {"think": True}, ANY_RELEASE),
        ("/v1/responses", {}, (0, 13, 3)),
        ("/v1/messages", {}, (0, 14, 0)),
        ("/api/chat", {"model": "llama3.2:local"}, (0, 17, 6)),
        ("/v1/messages", {"model": "glm-4.7:cloud"}, (0, 17, 6)),
    ],
)
def test_the_least_release_is_that_of_the_youngest_part(path, fields, release) -> None:
    assert least(path, **fields) == release


def test_every_row_is_of_a_route_that_there_is() -> None:
    for path in (*FIELDS, *ROUTES):
        assert lookup("POST", path).route.path == path
