"""A snapshot as bytes, sealed so that neither chance nor whoever owns Redis can change it.

    {"schema":1,"epoch":"…","revision":7,"sha256":"…","hmac":"…"}
    {"epoch":"…","revision":7, … the snapshot … }

The HMAC-SHA256 covers schema, epoch, revision and the SHA-256 of the payload; its key is known to
the planes and never in Redis. Unknown fields in either line are ignored.

Schema versions:
    1  first (2026-11)
       later, optional: keys[].scopes. A reader that does not know it serves no management route, so
       a key without `inference` is the one thing it gets wrong: upgrade the data planes first.
       later, optional: config.filler_sse_s, config.filler_ndjson_s. A reader that knows neither
       leaves silence as it is.
       later, optional: config.model_strategies, config.explain, the strategy `predicted`. A reader
       that does not know the strategy refuses the snapshot and keeps the one before: upgrade the
       data planes first.
       later, optional: config.digest_drift. A reader that does not know it goes by the majority.
       later, optional: config.max_waiting, config.max_wait_s, keys[].max_active,
       keys[].requests_per_minute, keys[].priority. A reader that does not know them holds nothing
       and limits nothing.
       later, optional: config.pull_replicas. A reader that does not know it pulls to every node.
A writer may add optional fields within a schema. Anything that an old reader would misread needs a
new schema number, a row here, and a golden file in tests/contract.
"""

from __future__ import annotations

import hashlib
import hmac
from enum import StrEnum
from typing import Final

import msgspec

from shared.snapshot import Snapshot

SCHEMA: Final = 1
MAX_SNAPSHOT_BYTES: Final = 16 * 1024 * 1024
"""1,000 nodes with 50 models each take about 3 MB; beyond this something is wrong."""

MIN_KEY_BYTES: Final = 16


class Refusal(StrEnum):
    """Why a snapshot was not applied."""

    TOO_LARGE = "too_large"
    MALFORMED = "malformed"
    UNKNOWN_SCHEMA = "unknown_schema"
    BAD_HASH = "bad_hash"
    BAD_SIGNATURE = "bad_signature"
    OLDER_REVISION = "older_revision"
    OLDER_EPOCH = "older_epoch"


class RefusedError(Exception):
    """A snapshot that must not be applied. Carries what could be read of its header."""

    def __init__(self, reason: Refusal, detail: str, header: Header | None = None) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.header = header


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line of a sealed snapshot."""

    schema: int
    epoch: str
    revision: int
    sha256: str
    hmac: str


class Hint(msgspec.Struct, frozen=True, kw_only=True):
    """What goes over pub/sub: where to look, never state."""

    epoch: str
    revision: int
    sha256: str


_encoder = msgspec.json.Encoder(order="deterministic")
_snapshot_decoder = msgspec.json.Decoder(Snapshot)
_header_decoder = msgspec.json.Decoder(Header)
_hint_decoder = msgspec.json.Decoder(Hint)


def seal(snapshot: Snapshot, key: bytes) -> bytes:
    """The canonical bytes of a snapshot: the same state always gives the same bytes."""
    payload = _encoder.encode(snapshot)
    sha256 = hashlib.sha256(payload).hexdigest()
    header = Header(
        schema=SCHEMA,
        epoch=snapshot.epoch,
        revision=snapshot.revision,
        sha256=sha256,
        hmac=_sign(key, SCHEMA, snapshot.epoch, snapshot.revision, sha256),
    )
    return _encoder.encode(header) + b"\n" + payload


def open_sealed(data: bytes, key: bytes) -> Snapshot:
    """Verify and decode. Raises RefusedError with the first reason found."""
    header = peek(data)
    if header.schema != SCHEMA:
        raise RefusedError(
            Refusal.UNKNOWN_SCHEMA, f"schema {header.schema}, this reader knows {SCHEMA}", header
        )
    payload = memoryview(data)[data.index(b"\n") + 1 :]
    if hashlib.sha256(payload).hexdigest() != header.sha256:
        raise RefusedError(Refusal.BAD_HASH, "the payload is not what the header says", header)
    signature = _sign(key, header.schema, header.epoch, header.revision, header.sha256)
    if not hmac.compare_digest(signature, header.hmac):
        raise RefusedError(Refusal.BAD_SIGNATURE, "not signed with our snapshot key", header)
    try:
        snapshot = _snapshot_decoder.decode(payload)
    except msgspec.DecodeError as error:
        raise RefusedError(Refusal.MALFORMED, str(error), header) from error
    if (snapshot.epoch, snapshot.revision) != (header.epoch, header.revision):
        raise RefusedError(Refusal.MALFORMED, "header and payload name two revisions", header)
    _check_references(snapshot, header)
    return snapshot


def _check_references(snapshot: Snapshot, header: Header) -> None:
    count = len(snapshot.models)
    for node in snapshot.nodes:
        for entry in node.available:
            if not 0 <= entry.model < count:
                raise RefusedError(
                    Refusal.MALFORMED, f"node {node.id} names a model beyond the table", header
                )


def peek(data: bytes) -> Header:
    """Read the header alone, unverified. Raises RefusedError when it cannot be read."""
    if len(data) > MAX_SNAPSHOT_BYTES:
        raise RefusedError(Refusal.TOO_LARGE, f"{len(data)} bytes, limit {MAX_SNAPSHOT_BYTES}")
    line, newline, _ = data.partition(b"\n")
    if not newline:
        raise RefusedError(Refusal.MALFORMED, "no header line")
    try:
        return _header_decoder.decode(line)
    except msgspec.DecodeError as error:
        raise RefusedError(Refusal.MALFORMED, str(error)) from error


def hint_of(sealed: bytes) -> Hint:
    """The hint that announces these sealed bytes."""
    header = peek(sealed)
    return Hint(epoch=header.epoch, revision=header.revision, sha256=header.sha256)


def encode_hint(hint: Hint) -> bytes:
    """A hint as bytes."""
    return _encoder.encode(hint)


def decode_hint(data: bytes) -> Hint | None:
    """A hint from bytes; None when it is not one (the reader then simply looks at the snapshot)."""
    try:
        return _hint_decoder.decode(data)
    except msgspec.DecodeError:
        return None


def _sign(key: bytes, schema: int, epoch: str, revision: int, sha256: str) -> str:
    if len(key) < MIN_KEY_BYTES:
        msg = f"the snapshot key must have at least {MIN_KEY_BYTES} bytes"
        raise ValueError(msg)
    message = f"{schema}\n{epoch}\n{revision}\n{sha256}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()
