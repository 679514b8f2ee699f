"""Every code has a sentence, and no sentence is a shrug."""

from shared.codes import SENTENCES, ErrorCode


def test_every_code_has_its_sentence() -> None:
    assert set(SENTENCES) == set(ErrorCode)


def test_codes_are_snake_case_words() -> None:
    assert all(code.replace("_", "").isalpha() and code.islower() for code in ErrorCode)
