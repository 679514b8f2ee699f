"""Reading a node's own account of its models."""

import json

import pytest

from shared.inventory import InventoryError, parse_ps, parse_tags, parse_version

TAGS = {
    "models": [
        {
            "name": "llama3.2:latest",
            "model": "llama3.2:latest",
            "modified_at": "2026-08-01T10:00:00.123456789+02:00",
            "size": 2_019_393_189,
            "digest": "a" * 64,
            "details": {
                "parent_model": "",
                "format": "gguf",
                "family": "llama",
                "families": ["llama"],
                "parameter_size": "3.2B",
                "quantization_level": "Q4_K_M",
            },
            "capabilities": ["completion", "tools"],
        },
        {"name": "old:latest", "details": {"families": None}},
        {"name": "not a name"},
        {},
    ]
}


def test_tags_are_read_with_what_the_catalogue_needs() -> None:
    (model, modified_at), (old, _) = parse_tags(json.dumps(TAGS).encode())
    assert modified_at == "2026-08-01T10:00:00.123456789+02:00"
    assert model.canonical == "registry.ollama.ai/library/llama3.2:latest"
    assert (model.size_bytes, model.digest) == (2_019_393_189, "a" * 64)
    assert (model.family, model.families, model.quantization) == ("llama", ("llama",), "Q4_K_M")
    assert model.capabilities == ("completion", "tools")
    assert (old.name, old.families, old.capabilities) == ("old:latest", None, None)


def test_loaded_models_are_read() -> None:
    (loaded,) = parse_ps(
        b'{"models":[{"model":"a:1b","digest":"d","size":10,"size_vram":7,"context_length":4096,'
        b'"expires_at":"2318-01-01T00:00:00Z","details":{"family":"llama"}}]}'
    )
    assert (loaded.size_bytes, loaded.size_vram_bytes, loaded.context_length) == (10, 7, 4096)
    assert loaded.expires_at == "2318-01-01T00:00:00Z"


@pytest.mark.parametrize("data", [b'{"models":null}', b'{"models":[]}'])
def test_a_node_without_models_has_none(data: bytes) -> None:
    assert parse_tags(data) == ()
    assert parse_ps(data) == ()


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"<html>", b'{"models":1}', b'{"models":[1]}'])
def test_another_document_is_an_error(data: bytes) -> None:
    with pytest.raises(InventoryError):
        parse_tags(data)
    with pytest.raises(InventoryError):
        parse_ps(data)


def test_texts_of_a_hostile_node_are_bounded() -> None:
    """S50."""
    ((model, modified_at),) = parse_tags(
        json.dumps(
            {"models": [{"name": "a", "digest": "d" * 9_999, "modified_at": "m" * 9_999}]}
        ).encode()
    )
    assert len(model.digest) == len(modified_at) == 256


@pytest.mark.parametrize(
    ("text", "version"),
    [("0.33.0", "0.33.0"), ("v0.5", "0.5"), ("0.33.0-rc2", "0.33.0-rc2"), ("0.1.2+x", "0.1.2+x")],
)
def test_versions_are_read(text: str, version: str) -> None:
    assert parse_version(json.dumps({"version": text}).encode()) == version


@pytest.mark.parametrize(
    "data", [b"", b"{}", b'{"version":1}', b'{"version":"latest"}', b'{"version":""}']
)
def test_what_is_no_version_is_an_error(data: bytes) -> None:
    with pytest.raises(InventoryError):
        parse_version(data)
