"""The top level of a body is read so that no reader can take it for another."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol.members import (
    WHOLE_CHECK_BYTES,
    canonical_members,
    folded,
    members_of,
)
from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.outline import MAX_KEYS


def read(body: bytes) -> dict[str, msgspec.Raw]:
    """As `ask` reads a body: the quick way where it will do, else the careful one."""
    members = canonical_members(body)
    return folded(members_of(body)) if members is None else members


def refused(body: bytes) -> BadRequestError:
    assert canonical_members(body) is None
    with pytest.raises(BadRequestError) as caught:
        folded(members_of(body))
    return caught.value


@pytest.mark.parametrize("body", [b"null", b"[]", b'"x"', b"1", b"true", b" [1] "])
def test_a_value_that_is_no_object_is_no_request(body):
    error = refused(body)
    assert (error.status, error.code) == (400, "invalid_request")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b'{"model":"a"', b'{"model":"a",}', b'{"model":"a"} x', b'{"model":"a"}{}',
        b'\xef\xbb\xbf{"model":"a"}', '{"model":"a"}'.encode("utf-16"), b'{"model":"a","x":"\xff"}',
        b'{"model":"a","x":"\\ud800"}', b'{"model":"a","x":"\\udc00 and more"}', b"{'model':'a'}",
        b'{"model":"a","x":NaN}', b'{"model":"a","x":Infinity}', b'{"model":"a","x":1e999}',
        b'{"model":"a","x":' + b"9" * 5_000 + b"}", b'{"model":"a","x":01}', b'{"model":"a\n"}',
        b'{"x":' * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_sound_json_is_refused_without_an_echo(body):
    error = refused(body)
    assert (error.status, error.code) == (400, "invalid_json")
    assert error.detail == "the request body is not valid JSON; send one JSON object in UTF-8"


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\\ud800", b"\\udc00 "])
def test_a_large_body_is_held_to_unicode_too(bad):
    body = b'{"model":"a","x":"' + b"y" * WHOLE_CHECK_BYTES + bad + b'"}'
    assert refused(body).code == "invalid_json"


@pytest.mark.parametrize("shift", range(4))
def test_a_character_across_two_steps_of_the_check_is_sound(shift):
    body = (
        '{"model":"a","x":"' + "y" * (1024 * 1024 - 20 + shift) + "\U0001f600" * 10 + '"}'
    ).encode()
    assert list(read(body)) == ["model", "x"]


def test_more_keys_than_any_dialect_knows_are_refused():
    body = json.dumps({f"k{index}": 0 for index in range(MAX_KEYS + 1)}, separators=(",", ":"))
    assert refused(body.encode()).code == "invalid_request"


@pytest.mark.parametrize(
    "body",
    [
        b'{"model": "a"}', b'{"Model":"a"}', b'{"name":"a"}', b'{"model":"a","model":"a"}',
        b'{"mod\\u0065l":"a"}', b' {"model":"a"}', '{"\u017ftream":true}'.encode(),
    ],
)  # fmt: skip
def test_only_what_is_written_as_we_write_takes_the_quick_way(body):
    assert canonical_members(body) is None


KEYS = st.sampled_from(["model", "MODEL", "stream", "\u017ftream", "other", "name"])


@given(st.lists(st.tuples(KEYS, st.integers()), max_size=4), st.sampled_from([",", ", "]))
def test_the_quick_way_reads_what_the_careful_one_reads(members, comma):
    body = ("{" + comma.join(f"{json.dumps(key)}:{value}" for key, value in members) + "}").encode()
    quick = canonical_members(body)
    if quick is not None:
        assert quick == folded(members_of(body))
