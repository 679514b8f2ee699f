"""Whether a principal may use a model."""

import pytest

from data_plane.routing.permits import is_allowed
from shared.model_names import canonical_name

LLAMA3 = canonical_name("llama3")


def test_no_list_allows_every_model():
    assert is_allowed(LLAMA3, None)


def test_an_empty_list_allows_none():
    assert not is_allowed(LLAMA3, ())


@pytest.mark.parametrize(
    "pattern", [LLAMA3, "*", "*/llama3:*", "registry.ollama.ai/library/llama*", "*/LLAMA3:latest"]
)
def test_a_name_or_a_glob_allows_what_it_covers(pattern):
    assert is_allowed(LLAMA3, ("*/mistral:*", pattern))


@pytest.mark.parametrize(
    "pattern",
    ["llama3", "*/llama3", "registry.ollama.ai/library/llama", "*/llama3:cloud", ".*", ""],
)
def test_what_does_not_cover_the_whole_name_does_not_allow(pattern):
    assert not is_allowed(LLAMA3, (pattern,))


def test_many_stars_take_no_time():
    assert not is_allowed("a" * 500, ("*a" * 30 + "b",))
