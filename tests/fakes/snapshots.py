"""Snapshots for tests of the data plane, told in a line or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shared.model_names import ModelName
from shared.snapshot import (
    ApiKey,
    AvailableModel,
    LoadedModel,
    Model,
    Node,
    ProxyConfig,
    Snapshot,
    Verdict,
)

MODIFIED_AT = "2026-11-01T10:00:00Z"


def digest_of(mark: str) -> str:
    """A digest that is known by its mark."""
    return (mark.encode().hex() * 64)[:64]


def make_model(name: str, digest: str = "", **fields: object) -> Model:
    parsed = ModelName.parse(name)
    plain = {"size_bytes": 4_000, "format": "gguf", "family": "llama", **fields}
    return Model(
        name=parsed.display,
        canonical=parsed.canonical,
        digest=digest or digest_of(parsed.canonical[-20:]),
        **plain,
    )


def make_loaded(name: str, **fields: object) -> LoadedModel:
    parsed = ModelName.parse(name)
    plain = {"size_bytes": 6_000, "size_vram_bytes": 6_000, "context_length": 4_096, **fields}
    return LoadedModel(name=parsed.display, canonical=parsed.canonical, **plain)


def make_snapshot(
    holdings: Mapping[str, Sequence[str | Model | tuple[str | Model, str]]],
    *,
    unhealthy: Sequence[str] = (),
    unknown: Sequence[str] = (),
    disabled: Sequence[str] = (),
    fields: Mapping[str, Mapping[str, object]] | None = None,
    keys: tuple[ApiKey, ...] = (),
    revision: int = 1,
) -> Snapshot:
    """A snapshot of nodes by name, each with the models it holds (and since when)."""
    table: list[Model] = []
    nodes = []
    for name, held in holdings.items():
        available = []
        for item in held:
            what, modified_at = item if isinstance(item, tuple) else (item, MODIFIED_AT)
            model = what if isinstance(what, Model) else make_model(what)
            if model not in table:
                table.append(model)
            available.append(AvailableModel(model=table.index(model), modified_at=modified_at))
        if name in unhealthy:
            verdict = Verdict.UNHEALTHY
        else:
            verdict = Verdict.UNKNOWN if name in unknown else Verdict.HEALTHY
        node_fields = {
            "address": f"http://{name}.test:11434",
            "wished": name not in disabled,
            "verdict": verdict,
            "reason": "refused" if name in unhealthy else "",
            "version": "0.33.0",
            **((fields or {}).get(name) or {}),
        }
        nodes.append(Node(id=name, name=name, available=tuple(available), **node_fields))
    return Snapshot(
        epoch="epoch-1",
        revision=revision,
        built_at=1_790_000_000.0,
        config=ProxyConfig(),
        models=tuple(table),
        nodes=tuple(nodes),
        keys=keys,
    )
