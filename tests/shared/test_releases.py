"""Which of two Ollamas is the older one."""

from shared.releases import ANY_RELEASE, UNKNOWN_RELEASE, release_of


def test_releases_compare_by_their_numbers() -> None:
    assert release_of("0.9.6") < release_of("0.12.3") < release_of("0.12.11")
    assert release_of("v0.33.0-rc2") == release_of("0.33.0")
    assert ANY_RELEASE < release_of("0.1") < UNKNOWN_RELEASE


def test_what_is_no_version_is_taken_for_new() -> None:
    for text in ("", "main", "-1"):
        assert release_of(text) == UNKNOWN_RELEASE
