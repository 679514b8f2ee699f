"""Settings are read strictly: what is accepted, and how a wrong value is named."""

from pathlib import Path

import pytest

from shared import environ
from shared.environ import Bind, SettingError


def test_an_empty_value_counts_as_unset() -> None:
    assert environ.text({"A": "  "}, "A", "fallback") == "fallback"


def test_a_missing_value_without_default_names_the_variable() -> None:
    with pytest.raises(SettingError, match=r"^A: must be set$"):
        environ.text({}, "A")


def test_an_alias_counts_and_the_proper_name_wins() -> None:
    assert environ.text({"OLD": "x"}, "NEW", aliases=("OLD",)) == "x"
    assert environ.text({"OLD": "x", "NEW": "y"}, "NEW", aliases=("OLD",)) == "y"


def test_a_value_may_come_from_a_file(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hush\n")
    assert environ.text({"A_FILE": str(secret)}, "A") == "hush"


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_an_unusable_file_names_the_file_variable(tmp_path: Path, content: bytes | None) -> None:
    secret = tmp_path / "secret"
    if content is not None:
        secret.write_bytes(content)
    with pytest.raises(SettingError, match="^A_FILE: "):
        environ.text({"A_FILE": str(secret)}, "A", "default")


@pytest.mark.parametrize("raw", ["x", "1.5", "-1", "11"])
def test_an_integer_out_of_range_says_the_range(raw: str) -> None:
    with pytest.raises(SettingError, match="A: must be a whole number from 0 to 10"):
        environ.integer({"A": raw}, "A", 3, maximum=10)


@pytest.mark.parametrize("raw", ["x", "nan", "inf", "-0.1"])
def test_a_number_must_be_finite_and_in_range(raw: str) -> None:
    with pytest.raises(SettingError, match="A: must be a number from 0"):
        environ.number({"A": raw}, "A", 3.0)


def test_numbers_fall_back_to_their_default() -> None:
    assert environ.integer({}, "A", 3) == 3
    assert environ.number({}, "A", 0.5) == 0.5
    assert environ.number({"A": "2"}, "A", 0.5) == 2.0


@pytest.mark.parametrize(("raw", "meaning"), [("Yes", True), ("0", False), ("", True)])
def test_booleans_take_the_usual_words(raw: str, meaning: bool) -> None:
    assert environ.boolean({"A": raw}, "A", default=True) is meaning


def test_a_word_that_is_no_boolean_is_refused() -> None:
    with pytest.raises(SettingError, match="not 'maybe'"):
        environ.boolean({"A": "maybe"}, "A", default=True)


def test_a_choice_is_given_back_in_its_own_spelling() -> None:
    assert environ.choice({"A": "JSON"}, "A", "auto", ("auto", "json")) == "json"
    with pytest.raises(SettingError, match="must be one of auto, json"):
        environ.choice({"A": "xml"}, "A", "auto", ("auto", "json"))


def test_a_list_drops_blanks() -> None:
    assert environ.items({"A": " a, ,b,"}, "A") == ("a", "b")


@pytest.mark.parametrize(
    ("raw", "bind", "is_loopback"),
    [
        ("127.0.0.1:80", Bind("127.0.0.1", 80), True),
        ("[::1]:0", Bind("::1", 0), True),
        ("localhost:1", Bind("localhost", 1), True),
        ("0.0.0.0:65535", Bind("0.0.0.0", 65_535), False),
        ("proxy.example:1", Bind("proxy.example", 1), False),
    ],
)
def test_a_bind_is_read_and_knows_whether_it_is_loopback(
    raw: str,
    bind: Bind,
    is_loopback: bool,
) -> None:
    assert environ.bind({"A": raw}, "A", "127.0.0.1:1") == bind
    assert bind.is_loopback is is_loopback
    assert str(bind) == raw


@pytest.mark.parametrize("raw", ["80", ":80", "h:", "h:x", "h:65536", "h:-1", "h:²"])
def test_a_malformed_bind_says_its_form(raw: str) -> None:
    with pytest.raises(SettingError, match="must be host:port"):
        environ.bind({"A": raw}, "A", "127.0.0.1:1")
