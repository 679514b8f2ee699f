r"""A node's models as the database keeps them: two JSON texts, ready for the snapshot.

Why not a table of models: a thousand nodes with fifty models each would be fifty thousand link rows
to read for every snapshot and to rewrite at every refresh. One text per node is read in one go, and
the snapshot needs only to cut it into entries, not to decode them (equal entries are equal bytes).

    available  [[{Model}, "modified_at"], …]   in the order of the canonical names
    loaded     [{LoadedModel}, …]              likewise
    names      "\n<canonical>\n<canonical>\n"  for the question "who holds this model"

Pure: no clock, no database, no network.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec

from shared.snapshot import LoadedModel, Model

if TYPE_CHECKING:
    from collections.abc import Iterable

MAX_BYTES: Final = 1024 * 1024
"""Per node and text. 2,000 usual entries take 0.7 MB; a node that says more would, with a few like
it, push the snapshot beyond its limit and so keep every other change from the data planes."""

_encoder = msgspec.json.Encoder()
_available_decoder = msgspec.json.Decoder(list[tuple[Model, str]])
_raw_decoder = msgspec.json.Decoder(list[tuple[msgspec.Raw, str]])
_loaded_decoder = msgspec.json.Decoder(tuple[LoadedModel, ...])
_model_decoder = msgspec.json.Decoder(Model)


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one node holds, in its stored form."""

    available: str = "[]"
    loaded: str = "[]"

    @property
    def names(self) -> str:
        """The canonical names on disk, each between line feeds."""
        names = {model.canonical for model, _ in available_models(self.available)}
        return "".join(f"\n{name}" for name in sorted(names)) + "\n" if names else ""


def encode_available(found: Iterable[tuple[Model, str]]) -> str:
    """The stored form of /api/tags. Of two entries with one canonical name the newer one stays."""
    newest: dict[str, tuple[Model, str]] = {}
    for model, modified_at in found:
        held = newest.get(model.canonical)
        if held is None or modified_at > held[1]:
            newest[model.canonical] = (model, modified_at)
    return _joined(_encoder.encode(newest[name]) for name in sorted(newest))


def encode_loaded(found: Iterable[LoadedModel]) -> str:
    """The stored form of /api/ps."""
    ordered = sorted(found, key=lambda model: (model.canonical, model.digest))
    return _joined(_encoder.encode(model) for model in ordered)


def _joined(entries: Iterable[bytes]) -> str:
    kept: list[str] = []
    size = 2
    for entry in entries:
        size += len(entry) + 1
        if size > MAX_BYTES:
            break
        kept.append(entry.decode())
    return f"[{','.join(kept)}]"


def available_models(text: str) -> list[tuple[Model, str]]:
    """The models on disk with their `modified_at`."""
    return _available_decoder.decode(text)


def available_entries(text: str) -> list[tuple[bytes, str]]:
    """As `available_models`, each model left as its bytes: equal models are equal bytes."""
    return [(bytes(raw), modified_at) for raw, modified_at in _raw_decoder.decode(text)]


def model_of(entry: bytes) -> Model:
    """One model out of `available_entries`."""
    return _model_decoder.decode(entry)


def loaded_models(text: str) -> tuple[LoadedModel, ...]:
    """The models in memory."""
    return _loaded_decoder.decode(text)


def is_changed(before: Inventory, after: Inventory, now: dt.datetime) -> bool:
    """Whether the data planes must hear of it.

    `expires_at` moves with every request, so alone it is no change, unless the instant that the
    data planes know has passed: clients would be told that a model in use is about to be unloaded.
    """
    if before.available != after.available:
        return True
    if before.loaded == after.loaded:
        return False
    old, new = loaded_models(before.loaded), loaded_models(after.loaded)
    if [_lasting(model) for model in old] != [_lasting(model) for model in new]:
        return True
    return any(
        _is_past(was.expires_at, now) and not _is_past(is_.expires_at, now)
        for was, is_ in zip(old, new, strict=True)
    )


def _lasting(model: LoadedModel) -> LoadedModel:
    return msgspec.structs.replace(model, expires_at="")


def _is_past(instant: str, now: dt.datetime) -> bool:
    try:
        moment = dt.datetime.fromisoformat(instant)
    except ValueError:
        return False  # keep_alive -1 is written as a year beyond what Python can read: not past
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return moment < now
