"""Names and globs of models, against what the data planes compare with."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.accounts.patterns import canonical_pattern
from shared.model_names import InvalidModelNameError, canonical_name

HOME = "registry.ollama.ai/library"


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("qwen3", f"{HOME}/qwen3:latest"),
        ("Qwen3:8B", f"{HOME}/qwen3:8b"),
        ("qwen3:*", f"{HOME}/qwen3:*"),
        ("qwen3*", f"{HOME}/qwen3*:*"),
        ("qwen?:8b", f"{HOME}/qwen?:8b"),
        ("me/*", "registry.ollama.ai/me/*:*"),
        ("hf.co/unsloth/*:Q4*", "hf.co/unsloth/*:q4*"),
        ("https://hf.co/unsloth/*", "hf.co/unsloth/*:*"),
        (" * ", "*/*/*:*"),
        ("*", "*/*/*:*"),
    ],
)
def test_a_pattern_gets_the_parts_it_leaves_out(text: str, pattern: str) -> None:
    assert canonical_pattern(text) == pattern


@pytest.mark.parametrize(
    "text", ["", "a/b/c/d*", "qwen3:*:*", "[ab]*", "a b*", "*/", "qwen3*:", "../*", "*" * 9, "é*"]
)
def test_what_no_name_could_look_like_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelNameError):
        canonical_pattern(text)


@pytest.mark.parametrize(
    ("pattern", "fits", "does_not"),
    [
        ("qwen3:*", "qwen3:8b", "qwen3-coder:8b"),
        ("qwen3*", "qwen3-coder:30b", "llama3"),
        ("*", "hf.co/a/b:c", None),
        ("me/*", "me/mine", "mine"),
        ("qwen3", "Qwen3:latest", "qwen3:8b"),
    ],
)
def test_what_a_pattern_admits(pattern: str, fits: str, does_not: str | None) -> None:
    assert fnmatchcase(canonical_name(fits), canonical_pattern(pattern))
    assert does_not is None or not fnmatchcase(canonical_name(does_not), canonical_pattern(pattern))


@given(st.text(alphabet="ab1:/*?.- [", max_size=20))
def test_a_canonical_pattern_is_its_own_canonical_form(text: str) -> None:
    try:
        pattern = canonical_pattern(text)
    except InvalidModelNameError:
        return
    assert canonical_pattern(pattern) == pattern
