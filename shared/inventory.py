"""Reading what an Ollama node says of its models: /api/tags, /api/ps and /api/version.

Only the fields that we know are read, each with a bound, so that a broken or hostile node cannot
fill the snapshot. An entry without a usable name is left out; a document of another shape raises.
"""

from __future__ import annotations

import re
from typing import Final

import msgspec

from shared.model_names import InvalidModelNameError, canonical_name
from shared.snapshot import LoadedModel, Model

MAX_MODELS: Final = 2_000
"""Per node. The largest libraries seen hold some hundreds."""

MAX_TEXT: Final = 256
_VERSION: Final = re.compile(r"v?(\d{1,6}\.\d{1,6}(?:\.\d{1,6})?[\w.+-]{0,64})", re.ASCII)


class InventoryError(ValueError):
    """The node's answer is not what Ollama answers."""


class _Details(msgspec.Struct, kw_only=True):
    parent_model: str | None = None
    format: str | None = None
    family: str | None = None
    families: list[str] | None = None
    parameter_size: str | None = None
    quantization_level: str | None = None
    context_length: int | None = None
    embedding_length: int | None = None


class _Entry(msgspec.Struct, kw_only=True):
    name: str | None = None
    model: str | None = None
    digest: str | None = None
    size: int | None = None
    size_vram: int | None = None
    context_length: int | None = None
    modified_at: str | None = None
    expires_at: str | None = None
    details: _Details | None = None
    capabilities: list[str] | None = None
    remote_model: str | None = None
    remote_host: str | None = None


class _Listing(msgspec.Struct):
    models: list[_Entry] | None


class _Version(msgspec.Struct):
    version: str


_listing_decoder = msgspec.json.Decoder(_Listing)
_version_decoder = msgspec.json.Decoder(_Version)


def parse_tags(data: bytes) -> tuple[tuple[Model, str], ...]:
    """The models on a node's disk, each with its `modified_at` (RFC 3339), in the node's order."""
    found = []
    for entry, name, canonical in _entries(data):
        details = entry.details or _Details()
        model = Model(
            name=name,
            canonical=canonical,
            digest=_short(entry.digest),
            size_bytes=entry.size or 0,
            parent_model=_short(details.parent_model),
            format=_short(details.format),
            family=_short(details.family),
            families=_words(details.families),
            parameter_size=_short(details.parameter_size),
            quantization=_short(details.quantization_level),
            context_length=details.context_length,
            embedding_length=details.embedding_length,
            capabilities=_words(entry.capabilities),
            remote_model=_short(entry.remote_model),
            remote_host=_short(entry.remote_host),
        )
        found.append((model, _short(entry.modified_at)))
    return tuple(found)


def parse_ps(data: bytes) -> tuple[LoadedModel, ...]:
    """The models in a node's memory."""
    found = []
    for entry, name, canonical in _entries(data):
        details = entry.details or _Details()
        found.append(
            LoadedModel(
                name=name,
                canonical=canonical,
                digest=_short(entry.digest),
                size_bytes=entry.size or 0,
                size_vram_bytes=entry.size_vram or 0,
                context_length=entry.context_length or 0,
                expires_at=_short(entry.expires_at),
                format=_short(details.format),
                family=_short(details.family),
                families=_words(details.families),
                parameter_size=_short(details.parameter_size),
                quantization=_short(details.quantization_level),
            )
        )
    return tuple(found)


def parse_version(data: bytes) -> str:
    """The version of a node, such as "0.33.0"."""
    try:
        text = _version_decoder.decode(data).version
    except msgspec.DecodeError as error:
        msg = "no version in the answer"
        raise InventoryError(msg) from error
    match = _VERSION.fullmatch(text)
    if match is None:
        msg = "the version is not one of Ollama's"
        raise InventoryError(msg)
    return match[1]


def _entries(data: bytes) -> list[tuple[_Entry, str, str]]:
    try:
        listing = _listing_decoder.decode(data).models or []
    except msgspec.DecodeError as error:
        msg = "no list of models in the answer"
        raise InventoryError(msg) from error
    found = []
    for entry in listing[:MAX_MODELS]:
        name = entry.model or entry.name or ""
        try:
            found.append((entry, name, canonical_name(name)))
        except InvalidModelNameError:
            continue
    return found


def _short(text: str | None) -> str:
    return (text or "")[:MAX_TEXT]


def _words(words: list[str] | None) -> tuple[str, ...] | None:
    return None if words is None else tuple(word[:MAX_TEXT] for word in words[:32])
