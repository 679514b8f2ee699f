"""multipart/form-data as clients write it, and as nobody should: reference 1.21."""

import pytest

from data_plane.protocol.ask import parse_form
from data_plane.protocol.forms import MAX_PARTS, BadFormError, boundary_of, parts_of, written
from data_plane.protocol.matching import lookup
from data_plane.protocol.mistakes import BadRequestError

ROUTE = lookup("POST", "/v1/audio/transcriptions").route
KIND = "multipart/form-data; boundary=XX"
SOUND = b"\x00\xffRIFF\r\n--X\r\n\r\n--XY"


def part(head: str, content: bytes = b"") -> bytes:
    return f"--XX\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode() + content + b"\r\n"


FILE = part('name="file"; filename="a.wav"\r\nContent-Type: audio/wav', SOUND)
MODEL = part('name="model"', b"voxtral")
END = b"--XX--\r\n"


def asked(body: bytes, kind: str = KIND):
    return parse_form(ROUTE, body, kind, max_body_bytes=10_000)


def refused(body: bytes, kind: str = KIND) -> str:
    with pytest.raises(BadRequestError) as caught:
        asked(body, kind)
    assert caught.value.status == 400
    return caught.value.code


@pytest.mark.parametrize("order", [(FILE, MODEL), (MODEL, FILE)])
def test_the_model_is_found_before_and_after_the_file(order) -> None:
    body = b"".join(order) + END
    ask = asked(body)
    assert (ask.model, ask.streaming, ask.least) == ("voxtral", False, (0, 20, 0))
    assert ask.content_type == 'multipart/form-data; boundary="XX"'
    assert ask.body == body, "what was written as we write it stays as it was"


def test_what_parts_hold_passes_byte_for_byte() -> None:
    found = {one.name: bytes(one.content) for one in parts_of(FILE + MODEL + END, "XX")}
    assert found == {b"file": SOUND, b"model": b"voxtral"}


def test_what_could_be_read_in_two_ways_is_not_sent_on() -> None:
    odd = b"Content-Transfer-Encoding: quoted-printable\r\nX: 1"
    loose = (
        b"--XX  \r\nContent-disposition: FORM-DATA;name=model\r\n" + odd + b"\r\n\r\nvoxtral\r\n"
    )
    assert (
        asked(loose + FILE + END + b"behind").body == part('name="model"', b"voxtral") + FILE + END
    )


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_form"),
        (b"{}", "invalid_form"),
        (MODEL, "invalid_form"),
        (MODEL + b"--XX-", "invalid_form"),
        (MODEL + b"--XXY--\r\n", "invalid_form"),
        (b"before\r\n" + MODEL + END, "invalid_form"),
        (MODEL.replace(b"\r\n", b"\n") + b"--XX--\n", "invalid_form"),
        (b"--XX\r\n--XX--\r\n", "invalid_form"),
        (b"--XX\r\n\r\nno head\r\n" + END, "invalid_form"),
        (part("name=model; name=file", b"a") + END, "invalid_form"),
        (part("name*=utf-8''model", b"a") + END, "invalid_form"),
        (part('name="mo\\"del"', b"a") + END, "invalid_form"),
        (part('name="model"\r\nContent-Disposition: form-data; name="x"') + END, "invalid_form"),
        (part('name="a"', b"") * (MAX_PARTS + 1) + END, "invalid_form"),
        (MODEL + MODEL + FILE + END, "duplicate_key"),
        (FILE + END, "invalid_model"),
        (part('name="model"', b" ") + END, "invalid_model"),
        (part('name="model"', b"\xff") + END, "invalid_model"),
        (part('name="model"', b"../x") + END, "invalid_model"),
        (part('name="model"; filename="m"', b"voxtral") + END, "invalid_model"),
    ],
)
def test_bad_forms_are_refused(body, code) -> None:
    """B73: the parts and their heads are counted, so that a form cannot be made of heads."""
    assert refused(body) == code


@pytest.mark.parametrize("cut", range(1, len(MODEL + END) - 4))
def test_a_form_that_is_cut_short_is_refused(cut) -> None:
    assert refused((MODEL + END)[:cut])


def test_what_parts_the_parts() -> None:
    for kind in (
        "multipart/form-data; boundary=a-b",
        'Multipart/Form-Data; charset=utf-8; boundary="a-b"',
        "multipart/form-data;boundary=a-b; charset=utf-8",
    ):
        assert boundary_of(kind) == "a-b"
    for kind in (
        "",
        "application/json",
        "multipart/form-data",
        "multipart/mixed; boundary=a",
        f"multipart/form-data; boundary={'a' * 71}",
        'multipart/form-data; boundary="a\r\nb"',
        'multipart/form-data; boundary="a "',
    ):
        with pytest.raises(BadFormError):
            boundary_of(kind)


def test_a_form_is_written_as_it_was_read() -> None:
    body = FILE + part('name="timestamp_granularities[]"', b"word") + part('name="x"') + END
    assert written(parts_of(body, "XX"), "XX") == body
