"""Which headers pass to a node and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.headers import Forwarded, to_client, to_node, valid_request_id

WHENCE = Forwarded(address="192.0.2.7", proto="https", host="proxy.test")


def sent(*client):
    return dict(to_node(client, forwarded=WHENCE))


def answered(*node):
    return dict(to_client(node))


@pytest.mark.parametrize(
    "name",
    [
        "Authorization", "X-Api-Key", "Cookie", "Proxy-Authorization", "Origin", "Referer",
        "Sec-Fetch-Site", "Expect", "Connection", "Keep-Alive", "TE", "Trailer", "Upgrade",
        "Transfer-Encoding", "Content-Length", "Content-Encoding", "Range", "If-Modified-Since",
        "X-Real-IP", "X-Request-Id", "Forwarded", "X-Node", "Host", "Transfer_Encoding", "X-User",
    ],
)  # fmt: skip
def test_what_is_not_on_the_list_stays_outside(name):
    """S05."""
    assert name not in sent((name, "value"))


def test_what_a_node_words_its_answers_by_is_passed():
    passed = sent(("User-Agent", "ollama/0.33"), ("accept", "*/*"), ("Anthropic-Version", "2023"))
    assert (passed["User-Agent"], passed["accept"]) == ("ollama/0.33", "*/*")
    assert passed["Anthropic-Version"] == "2023"


def test_the_body_is_json_and_the_answer_must_not_be_compressed():
    passed = sent(("Content-Type", "text/plain"), ("Accept-Encoding", "gzip"))
    assert passed["Content-Type"] == "application/json"
    assert passed["Accept-Encoding"] == "identity"


def test_where_a_request_came_from_is_what_the_proxy_knows():
    passed = sent(("X-Forwarded-For", "6.6.6.6"))
    assert passed["X-Forwarded-For"] == "192.0.2.7"
    assert passed["X-Forwarded-Proto"] == "https"
    assert passed["X-Forwarded-Host"] == "proxy.test"


def test_a_client_without_a_name_does_not_get_the_name_of_our_library():
    assert sent()["User-Agent"] == "aivonx-proxy"


@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\x00b", "caf\udce9", "\x7f", "ü"])
def test_a_value_of_odd_bytes_is_dropped(value):
    assert sent(("Accept", value)).get("Accept") is None
    assert answered(("X-Note", value)).get("X-Note") is None


@pytest.mark.parametrize(
    "name",
    [
        "Connection", "Keep-Alive", "Transfer-Encoding", "Trailer", "Upgrade", "Proxy-Authenticate",
        "Content-Length", "Server", "Date", "Set-Cookie", "Access-Control-Allow-Origin",
        "access-control-expose-headers", "WWW-Authenticate", "Via", "Strict-Transport-Security",
    ],
)  # fmt: skip
def test_what_belongs_to_the_node_or_the_connection_does_not_reach_the_client(name):
    """S06."""
    assert name not in answered((name, "value"))


def test_what_the_connection_header_names_is_dropped_with_it():
    assert "X-Hop" not in answered(("Connection", "close, x-hop"), ("X-Hop", "1"))


def test_the_content_type_passes():
    assert answered(("Content-Type", "application/x-ndjson"))["Content-Type"] == (
        "application/x-ndjson"
    )


@pytest.mark.parametrize("name", ["Cache-Control", "X-Request-Id", "X-Accel-Buffering", "Vary"])
def test_what_is_decided_here_is_not_the_nodes_to_say(name):
    assert name not in answered((name, "theirs"))


@pytest.mark.parametrize("text", ["a", "7f3c-11.x:y_z", "A" * 128])
def test_a_sound_request_id_is_kept(text):
    assert valid_request_id(text) == text


@pytest.mark.parametrize("text", [None, "", "a b", "a\n", "-a", "A" * 129, "ä", "a\r\nb", 'a"b'])
def test_an_odd_request_id_is_not(text):
    assert valid_request_id(text) is None


@given(st.lists(st.tuples(st.text(), st.text())))
def test_no_headers_of_a_client_add_a_name_to_those_that_pass(pairs):
    """S05."""
    allowed = {name.lower() for name, _ in to_node([], forwarded=WHENCE)}
    allowed |= {"accept", "accept-language", "anthropic-beta", "anthropic-version"}
    allowed |= {"traceparent", "tracestate"}
    passed = to_node(pairs, forwarded=WHENCE)
    assert {name.lower() for name, _ in passed} <= allowed
