"""What a data-plane instance tells the others through Redis: one record each, which expires."""

from __future__ import annotations

from typing import Annotated

import msgspec


class NodeReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one instance sees one node."""

    active_count: int = 0
    """Requests of this instance that the node is processing now."""

    latency_s: float | None = None
    standby: str | None = None
    """Why this instance keeps the node in standby by its own eyes; None: it does not."""


class RefusedRevision(msgspec.Struct, frozen=True, kw_only=True):
    """The last snapshot that the instance would not apply."""

    epoch: str
    revision: int
    reason: str


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The state of one data-plane instance."""

    instance: str
    version: str
    host: str
    pid: int
    started_at: float
    reported_at: float
    epoch: str
    """"" while no snapshot has been applied."""

    revision: int
    ready: bool
    draining: bool
    requests_total: int
    nodes: dict[str, NodeReport]
    refused: RefusedRevision | None = None
    refresh_wanted: tuple[str, ...] = ()
    """Nodes whose inventory turned out to be stale (a listed model answered 404)."""

    renewed_s: Annotated[float, msgspec.Meta(ge=0.0, le=60.0)] = 5.0
    """At the latest after so long it is written again; after three times as long without, other
    instances take this one for dead. Older instances do not say so, and take five seconds."""


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Report)


def encode(report: Report) -> bytes:
    """A report as bytes."""
    return _encoder.encode(report)


def decode(data: bytes) -> Report | None:
    """A report from bytes; None when this reader cannot read it (another version wrote it)."""
    try:
        return _decoder.decode(data)
    except msgspec.DecodeError:
        return None
