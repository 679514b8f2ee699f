"""Ollama's grammar of names: one model, many spellings."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.model_names import (
    InvalidModelNameError,
    ModelName,
    Source,
    canonical_name,
    split_source,
)

SPELLINGS_OF_LLAMA3 = [
    "llama3",
    "LLAMA3",
    "llama3:latest",
    "library/llama3",
    "registry.ollama.ai/library/llama3",
    "https://registry.ollama.ai/library/llama3:latest",
    "  llama3 ",
]


@pytest.mark.parametrize("text", SPELLINGS_OF_LLAMA3)
def test_every_spelling_of_a_model_has_one_canonical_form(text: str) -> None:
    assert canonical_name(text) == "registry.ollama.ai/library/llama3:latest"


@pytest.mark.parametrize(
    ("text", "display"),
    [
        ("Llama3.2", "Llama3.2:latest"),
        ("library/llama3.2:1b", "llama3.2:1b"),
        ("me/mine", "me/mine:latest"),
        ("hf.co/Org/Model-GGUF:Q4_K_M", "hf.co/Org/Model-GGUF:Q4_K_M"),
        ("localhost:5000/a/b", "localhost:5000/a/b:latest"),
    ],
)
def test_the_display_form_drops_defaults_and_keeps_tag_and_case(text: str, display: str) -> None:
    assert ModelName.parse(text).display == display


@pytest.mark.parametrize(
    "text",
    ["", " ", ":tag", "a:", "a b", "../x", "a/../b", "a//b", "-a", "a/b/c/d", "a@sha256:1", "ä",
     "a\n", "a" * 81, "n" * 81 + "/a", "a:" + "t" * 81, "x.y/a", "a" * 600],
)  # fmt: skip
def test_what_is_no_name_is_refused(text: str) -> None:
    with pytest.raises(InvalidModelNameError):
        canonical_name(text)


@pytest.mark.parametrize(
    ("text", "base", "source"),
    [
        ("gpt-oss:120b-cloud", "gpt-oss:120b", Source.CLOUD),
        ("glm-4.7:CLOUD", "glm-4.7", Source.CLOUD),
        ("llama3:local", "llama3", Source.LOCAL),
        ("llama3:8b:local", "llama3:8b", Source.LOCAL),
        ("llama3:8b", "llama3:8b", Source.ANY),
        ("localhost:5000/a-cloud", "localhost:5000/a-cloud", Source.ANY),
    ],
)
def test_the_source_suffix_is_no_part_of_the_name(text: str, base: str, source: Source) -> None:
    assert split_source(text) == (base, source)


@pytest.mark.parametrize("text", ["a:cloud:local", "a:1b-cloud:local", "a:local:cloud"])
def test_both_sources_at_once_are_refused(text: str) -> None:
    with pytest.raises(InvalidModelNameError, match="not both"):
        split_source(text)


PART = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,20}", fullmatch=True)


@given(PART, PART, PART)
def test_display_and_canonical_forms_are_names_of_the_same_model(
    namespace: str, model: str, tag: str
) -> None:
    name = ModelName.parse(f"{namespace}/{model}:{tag}")
    assert canonical_name(name.display) == name.canonical
    assert canonical_name(name.canonical) == name.canonical


@given(st.text(max_size=80))
def test_any_text_either_parses_or_is_refused_by_name(text: str) -> None:
    try:
        canonical = canonical_name(text)
    except InvalidModelNameError:
        return
    assert canonical == canonical.lower()
