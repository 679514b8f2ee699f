"""The outline of a large object: the same members that a whole reading finds, however it is cut."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_plane.protocol import ask as asking
from data_plane.protocol.asks import Form
from data_plane.protocol.large import LargeBody
from data_plane.protocol.matching import lookup
from data_plane.protocol.mistakes import BadRequestError
from data_plane.protocol.outline import OPENING_BYTES, Outline, OutlineError, Outliner

LONG = "y" * 9_000
CHAT = lookup("POST", "/api/chat").route


class Memory:
    """A store."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self, start: int, size: int) -> bytes:
        return self._data[start : start + size]


def outline(*pieces: bytes) -> Outline:
    outliner = Outliner()
    for piece in pieces:
        outliner.feed(piece)
    data = b"".join(pieces)
    return Outline(outliner.end(), Memory(data), len(data))


def members(*pieces: bytes) -> list[tuple[str, bytes]]:
    data, found = b"".join(pieces), []
    for each in outline(*pieces).members:
        value = data[each.span.start : each.span.start + each.span.size]
        assert each.opening == value[:OPENING_BYTES]
        found.append((each.key, value))
    return found


async def sent(body: bytes, route=CHAT) -> bytes:
    ask = asking.parse(route, outline(body), max_body_bytes=10**9)
    assert isinstance(ask.body, LargeBody)
    whole = await ask.body.whole()
    assert len(ask.body) == len(whole)
    return whole


DOCUMENT = (
    '\t{ "a\\"\\u00e9" :"x\\\\" , "b":[1,{"c":"]}\\"["},[]] ,"d":-1.5e3,"e":{} ,"ü":"é😀\\n",'
    '"n":null,"":"","t":true }\r\n'
).encode()
WANTED = [
    ('a"é', b'"x\\\\"'),
    ("b", b'[1,{"c":"]}\\"["},[]]'),
    ("d", b"-1.5e3"),
    ("e", b"{}"),
    ("ü", '"é😀\\n"'.encode()),
    ("n", b"null"),
    ("", b'""'),
    ("t", b"true"),
]


def test_wherever_it_is_cut_the_members_are_the_same() -> None:
    for cut in range(len(DOCUMENT) + 1):
        assert members(DOCUMENT[:cut], DOCUMENT[cut:]) == WANTED
    assert members(*(DOCUMENT[at : at + 1] for at in range(len(DOCUMENT)))) == WANTED


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(alphabet='a"\\[]{},:é😀\n', max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=12,
)


@given(
    st.dictionaries(st.text(max_size=4), VALUES, max_size=6),
    st.booleans(),
    st.integers(1, 40),
)
def test_it_finds_what_a_whole_reading_finds(document, is_ascii, step) -> None:
    data = json.dumps(document, ensure_ascii=is_ascii).encode("utf-8", "surrogatepass")
    found = members(*(data[at : at + step] for at in range(0, len(data), step)))
    assert {key: json.loads(value) for key, value in found} == document


@given(st.binary(max_size=40) | st.text(alphabet='{}[]",:\\ 1tn', max_size=30).map(str.encode))
def test_nothing_but_an_object_has_an_outline(data) -> None:
    """Sound JSON is read as it is; what is not sound is refused, or left to the node: whole."""
    try:
        document = json.loads(data)
    except ValueError:
        document = None
    try:
        found = members(data)
    except OutlineError:
        assert not isinstance(document, dict)
    else:
        assert document is None or list(document) == list(dict(found))


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[1]", "invalid_request"),
        (b' "x"', "invalid_request"),
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b'{"a":1', "invalid_json"),
        (b'{"a":"x', "invalid_json"),
        (b'{"a":[[]', "invalid_json"),
        (b'{"a":1}{', "invalid_json"),
        (b'{"a":1,}', "invalid_json"),
        (b'{"a":01}', "invalid_json"),
        (b'{"a":nul}', "invalid_json"),
        (b'{"a":' + b"9" * 5_000 + b"}", "invalid_json"),
        (b'{"a"1}', "invalid_json"),
        (b'{"\\ud800":1}', "invalid_json"),
        (b'{"a":"\xff"}', "invalid_json"),
        (b'{"a":"\xc3', "invalid_json"),
        (b'\xef\xbb\xbf{"a":1}', "invalid_json"),
        (b'{"' + b"k" * 2_000 + b'":1}', "invalid_request"),
        (b"{" + b",".join(b'"k%d":1' % n for n in range(257)) + b"}", "invalid_request"),
    ],
)
def test_what_is_no_good_object_is_refused(data, code) -> None:
    with pytest.raises(OutlineError) as caught:
        outline(data)
    assert caught.value.code == code


async def test_a_large_body_is_put_together_anew() -> None:
    body = f'{{ "MODEL" : "llama3", "messages":[{{"content":"{LONG}"}}],"Stream":false}}'.encode()
    ask = asking.parse(CHAT, outline(body), max_body_bytes=10**9)
    assert (ask.model, ask.streaming, ask.form) == ("llama3", False, Form.RUN)
    wanted = f'{{"model":"llama3","messages":[{{"content":"{LONG}"}}],"stream":false}}'
    assert await sent(body) == wanted.encode()


@pytest.mark.parametrize("route", ["/api/generate", "/api/show", "/v1/chat/completions"])
@pytest.mark.parametrize("extra", ["", ',"keep_alive":0', ',"stream":true', ',"name":"llama3"'])
async def test_it_is_judged_and_sent_as_a_small_one(route, extra) -> None:
    route = lookup("POST", route).route
    body = f'{{"x":"{LONG}","model":"llama3"{extra},"y":["{LONG}"]}}'.encode()
    small = asking.parse(route, body, max_body_bytes=10**9)
    large = asking.parse(route, outline(body), max_body_bytes=10**9)
    assert (large.model, large.canonical, large.streaming, large.form) == (
        small.model,
        small.canonical,
        small.streaming,
        small.form,
    )
    assert await sent(body, route) == small.body


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ('{"model":"a","x":"%s","Model":"b"}', "duplicate_key"),
        ('{"model":"a","x":"%s","\\u006dodel":"b"}', "duplicate_key"),
        ('{"x":"%s"}', "invalid_model"),
        ('{"model":["%s"]}', "invalid_model"),
        ('{"model":"%s"}', "invalid_model"),
        ('{"model":"a","stream":"%s"}', "invalid_request"),
    ],
)
def test_a_large_body_is_refused_as_a_small_one(body, code) -> None:
    data = (body % LONG).encode()
    for given_body in (data, outline(data)):
        with pytest.raises(BadRequestError) as caught:
            asking.parse(CHAT, given_body, max_body_bytes=10**9)
        assert caught.value.code == code


def test_a_large_body_over_the_limit_is_too_large() -> None:
    with pytest.raises(BadRequestError) as caught:
        asking.parse(CHAT, outline(b'{"model":"a"}'), max_body_bytes=5)
    assert caught.value.status == 413
