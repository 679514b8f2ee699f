"""What the fleet says of itself, as one Ollama server would: tags, ps, version, models.

Merged from the pools of one snapshot; no node is asked on the path. A model is listed while an
active node holds it. A node that dies keeps its models listed until the health sweep is sure of it,
which is grace enough; when the sweep is sure of every node, all are listed, since an empty list
would make clients forget their models because of what may be stale health data.

One catalogue per applied pools; answers are made when first asked for, and kept.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from data_plane.routing.permits import is_allowed
from data_plane.routing.pools import UNREADABLE, instant, latest
from shared.model_names import InvalidModelNameError, canonical_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import ModelEntry, Pools
    from shared.snapshot import LoadedModel, Model

ROOT_BODY: Final = b"Ollama is running"

MAX_KEPT: Final = 512
"""Answers kept per catalogue: one per list of allowed models and route. More are made anew."""

MIN_DIGEST_CHARS: Final = 12
"""The CLI cuts the first twelve off without looking, and would crash on a shorter digest."""

_NO_DIGEST: Final = "0" * 64
_NO_VERSION: Final = "0.0.0"
_NO_TIME: Final = "1970-01-01T00:00:00Z"

# What Open WebUI can read: dotted numbers, then at most something after a hyphen.
_VERSION: Final = re.compile(r"(\d+(?:\.\d+)*)(-[\w.]+)?", re.ASCII)

Allowed = tuple[str, ...] | None
_encode: Final = msgspec.json.Encoder().encode


class Catalogue:
    """Answers of the catalogue routes, at one revision. `allowed` is that of the principal."""

    __slots__ = ("_kept", "_listed", "_modified", "_nodes")

    def __init__(self, pools: Pools) -> None:
        self._nodes = pools.active or tuple(node for node in pools.standby if node.wished)
        self._kept: dict[tuple[str, Allowed], bytes] = {}
        has_active = bool(pools.active)
        self._listed = {
            canonical: entry
            for canonical, entry in pools.models.items()
            if entry.active or not has_active
        }
        self._modified: dict[str, str] = {}

    def tags(self, allowed: Allowed = None) -> bytes:
        """GET /api/tags: newest first, as Ollama sorts."""
        return self._once("tags", allowed, self._tags)

    def ps(self, allowed: Allowed = None) -> bytes:
        """GET /api/ps: one entry per model, whichever nodes have it in memory."""
        return self._once("ps", allowed, self._ps)

    def models(self, allowed: Allowed = None) -> bytes:
        """GET /v1/models."""
        return self._once("models", allowed, self._models)

    def version(self) -> bytes:
        """GET /api/version: the oldest, since that is what every node can do."""
        return self._once("version", None, self._version)

    def model(self, name: str, allowed: Allowed = None) -> bytes | None:
        """GET /v1/models/<name>; None when it is unknown or not allowed, which look the same."""
        try:
            canonical = canonical_name(name)
        except InvalidModelNameError:
            return None
        entry = self._listed.get(canonical)
        if entry is None or not is_allowed(canonical, allowed):
            return None
        return _encode(self._v1_model(entry))

    def _once(self, route: str, allowed: Allowed, make: Callable[[Allowed], Any]) -> bytes:
        key = (route, allowed)
        body = self._kept.get(key)
        if body is None:
            body = _encode(make(allowed))
            if len(self._kept) < MAX_KEPT:
                self._kept[key] = body
        return body

    def _entries(self, allowed: Allowed) -> list[ModelEntry]:
        """The listed models that may be seen, newest first, then by name."""
        entries = [
            entry for canonical, entry in self._listed.items() if is_allowed(canonical, allowed)
        ]
        entries.sort(key=lambda entry: entry.canonical)
        entries.sort(key=lambda entry: instant(self._modified_at(entry)), reverse=True)
        return entries

    def _modified_at(self, entry: ModelEntry) -> str:
        """Of all copies the latest time, which takes a while to find among a thousand nodes."""
        text = self._modified.get(entry.canonical)
        if text is None:
            text = self._modified[entry.canonical] = _readable(entry.modified_at)
        return text

    def _tags(self, allowed: Allowed) -> Any:
        return {
            "models": [_tag(entry, self._modified_at(entry)) for entry in self._entries(allowed)]
        }

    def _models(self, allowed: Allowed) -> Any:
        return {
            "object": "list",
            "data": [self._v1_model(entry) for entry in self._entries(allowed)],
        }

    def _v1_model(self, entry: ModelEntry) -> dict[str, Any]:
        _, namespace, _ = entry.canonical.split("/")
        return {
            "id": entry.model.name,
            "object": "model",
            "created": int(instant(self._modified_at(entry)).timestamp()),
            "owned_by": namespace,
        }

    def _ps(self, allowed: Allowed) -> Any:
        copies: dict[str, list[LoadedModel]] = {}
        for node in self._nodes:
            for loaded in node.loaded:
                if is_allowed(loaded.canonical, allowed):
                    copies.setdefault(loaded.canonical, []).append(loaded)
        running = [self._running(canonical, group) for canonical, group in copies.items()]
        running.sort(key=lambda entry: instant(entry["expires_at"]), reverse=True)
        return {"models": running}

    def _running(self, canonical: str, group: list[LoadedModel]) -> dict[str, Any]:
        """One entry for all copies in memory: sizes summed, so that their ratio stays right."""
        entry = self._listed.get(canonical)
        shown = group[0]
        return {
            "name": shown.name,
            "model": shown.name,
            "size": sum(copy.size_bytes for copy in group),
            "digest": _digest(shown.digest if entry is None else entry.model.digest),
            "details": {
                "parent_model": "",
                "format": shown.format,
                "family": shown.family,
                "families": shown.families,
                "parameter_size": shown.parameter_size,
                "quantization_level": shown.quantization,
            },
            "expires_at": _readable(latest(copy.expires_at for copy in group)),
            "size_vram": sum(copy.size_vram_bytes for copy in group),
            # What every copy can take.
            "context_length": min(copy.context_length for copy in group),
        }

    def _version(self, _allowed: Allowed) -> Any:
        return {"version": _oldest(self._nodes)}


def _tag(entry: ModelEntry, modified_at: str) -> dict[str, Any]:
    model = entry.model
    tag = {
        "name": model.name,
        "model": model.name,
        "modified_at": modified_at,
        "size": model.size_bytes,
        "digest": _digest(model.digest),
        "details": _details(model),
    }
    if model.capabilities is not None:
        tag["capabilities"] = model.capabilities
    if model.remote_model:
        tag["remote_model"] = model.remote_model
    if model.remote_host:
        tag["remote_host"] = model.remote_host
    return tag


def _details(model: Model) -> dict[str, Any]:
    details: dict[str, Any] = {
        "parent_model": model.parent_model,
        "format": model.format,
        "family": model.family,
        "families": model.families,
        "parameter_size": model.parameter_size,
        "quantization_level": model.quantization,
    }
    if model.context_length is not None:
        details["context_length"] = model.context_length
    if model.embedding_length is not None:
        details["embedding_length"] = model.embedding_length
    return details


def _readable(text: str) -> str:
    """A time that Go's clients can read; they refuse a whole list for one that they cannot."""
    return text if instant(text) is not UNREADABLE else _NO_TIME


def _digest(digest: str) -> str:
    return digest if len(digest) >= MIN_DIGEST_CHARS else _NO_DIGEST


def _oldest(nodes: Iterable[PoolNode]) -> str:
    """The lowest version, in a form that every client can read."""
    lowest: tuple[tuple[int, ...], bool] | None = None
    text = _NO_VERSION
    for node in nodes:
        found = _VERSION.match(node.version)
        if found is None:
            continue
        numbers = tuple(int(part) for part in found[1].split("."))
        rank = (numbers, found[2] is None)  # a pre-release comes before its release
        if lowest is None or rank < lowest:
            lowest, text = rank, found[0]
    return text
