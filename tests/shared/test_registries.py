"""Nodes pull from registries that were allowed, and from no other."""

import pytest

from shared.environ import SettingError
from shared.model_names import canonical_name
from shared.registries import registries_read


@pytest.mark.parametrize(
    ("name", "is_allowed"),
    [
        ("llama3", True),
        ("me/mine:7b", True),
        ("hf.co/org/model:Q4_K_M", True),
        ("HF.CO/org/model", True),
        ("huggingface.co/org/model", True),
        ("https://registry.ollama.ai/library/llama3", True),
        ("evil.example:8443/x/y", False),
        ("http://evil.example/x/y", False),
        ("hf.co.evil.example/x/y", False),
        ("hf.co:8443/x/y", False),
        ("10.0.0.1:5000/x/y", False),
    ],
)
def test_by_default_it_is_those_that_ollama_knows(name: str, is_allowed: bool) -> None:
    """C29."""
    assert registries_read({}).allow(canonical_name(name)) is is_allowed


def test_an_operator_names_others() -> None:
    ours = registries_read({"AIVONX_REGISTRIES": "Registry.LAN:5000"})
    assert ours.allow(canonical_name("registry.lan:5000/team/model"))
    assert not ours.allow(canonical_name("registry.lan/team/model"))
    assert not ours.allow(canonical_name("llama3"))


def test_a_star_is_any() -> None:
    assert registries_read({"AIVONX_REGISTRIES": "*"}).allow(canonical_name("evil.example/x/y"))


@pytest.mark.parametrize("text", ["https://hf.co", "hf.co/org", "a b", "hf.co:port", "*.lan"])
def test_what_is_no_host_is_told_at_the_start(text: str) -> None:
    with pytest.raises(SettingError, match="AIVONX_REGISTRIES"):
        registries_read({"AIVONX_REGISTRIES": text})
