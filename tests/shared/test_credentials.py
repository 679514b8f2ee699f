"""API keys: shape, check digits, and that the secret stays out of what is kept."""

import pytest

from shared import credentials


def test_a_minted_key_parses_to_its_own_id_and_hash() -> None:
    minted = credentials.mint()
    parsed = credentials.parse_key(minted.text)
    assert parsed is not None
    assert parsed.id == minted.id
    assert credentials.same_hash(parsed.sha256, minted.sha256)


def test_a_minted_key_has_the_published_shape() -> None:
    """S13."""
    minted = credentials.mint()
    prefix, key_id, secret, check = minted.text.split("_")
    assert (prefix, len(key_id), len(secret), len(check)) == ("olp", 12, 43, 6)
    assert minted.last4 == secret[-4:]
    assert secret not in minted.sha256


def test_two_keys_share_nothing() -> None:
    first, second = credentials.mint(), credentials.mint()
    assert first.id != second.id
    assert not credentials.same_hash(first.sha256, second.sha256)


def test_a_typo_anywhere_is_refused_by_the_check_digits() -> None:
    """S13."""
    text = credentials.mint().text
    for index, letter in enumerate(text):
        typo = text[:index] + ("a" if letter != "a" else "b") + text[index + 1 :]
        assert credentials.parse_key(typo) is None, f"typo at {index}"


@pytest.mark.parametrize(
    "text", ["", "ollama", "Bearer x", "olp_", "olp_1_2_3", "olp_" + "0" * 1_000_000, "olp_\0"]
)
def test_what_is_no_key_is_refused(text: str) -> None:
    assert credentials.parse_key(text) is None
