"""Bring the database's state to where the data planes read it: one Redis key, then a hint.

Two publishers may run at once, and either may be slow. Each watches the key, then reads the
database, then writes only if nobody touched the key in between. So what stands there is never
replaced by something older, and a publisher that built before the epoch was renewed starts again.

The reconciler repairs what publishing cannot see: a key that was lost, forged, or left by another
database. It reads Redis before the database: changes are committed before they are published, so a
verified revision that is higher than the database's can only mean that the database lost history.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, cast

import redis
import structlog
from django.conf import settings

from control_plane.common.claims import run_claim
from control_plane.common.redis import client as redis_client
from control_plane.publishing.build import snapshot_build
from control_plane.revisions.selectors import revision_current
from control_plane.revisions.services import epoch_renew
from shared import keys, wire

if TYPE_CHECKING:
    from shared.wire import Header

_log = structlog.get_logger(__name__)

ATTEMPTS: Final = 5
"""Each lost race means that somebody else published; the reconciler comes anyway."""

CLAIM_TTL_S: Final = 10.0
"""Two ticks of the schedule; one run takes a fraction of a second."""

HEADER_BYTES: Final = 1_024
"""Enough for the header line, so that publishing does not fetch megabytes only to compare."""


class Published(StrEnum):
    """How an attempt to publish ended."""

    WRITTEN = "written"
    UP_TO_DATE = "up_to_date"
    TOO_LARGE = "too_large"
    CONTENDED = "contended"


class Finding(StrEnum):
    """What the reconciler found under the key."""

    CURRENT = "current"
    MISSING = "missing"
    REFUSED = "refused"
    FOREIGN = "foreign"
    OLDER = "older"
    AHEAD = "ahead"


def snapshot_publish(*, distrusted: bytes | None = None) -> Published:
    """Publish the present state unless it, or something newer, is there already.

    `distrusted` are bytes that the reconciler has read and refused: these are replaced whatever
    revision their header claims.
    """
    client = redis_client()
    for _ in range(ATTEMPTS):
        with client.pipeline() as pipe:
            pipe.watch(keys.SNAPSHOT)  # type: ignore[no-untyped-call]  # redis-py has no types for it
            there = cast("bytes", pipe.getrange(keys.SNAPSHOT, 0, HEADER_BYTES - 1))
            is_trusted = distrusted is None or there != distrusted[:HEADER_BYTES]
            # After the watch: an epoch renewed meanwhile is seen here, or its snapshot fails ours.
            if is_trusted and _is_up_to_date(_header(there), revision_current()):
                return Published.UP_TO_DATE
            sealed = wire.seal(snapshot_build(), settings.SNAPSHOT_KEY)
            if len(sealed) > wire.MAX_SNAPSHOT_BYTES:
                _log.error("snapshot_too_large", size_bytes=len(sealed))
                return Published.TOO_LARGE
            pipe.multi()
            pipe.set(keys.SNAPSHOT, sealed)
            pipe.publish(keys.HINTS, wire.encode_hint(wire.hint_of(sealed)))
            try:
                pipe.execute()
            except redis.WatchError:
                continue
        header = wire.peek(sealed)
        _log.info(
            "snapshot_published",
            epoch=header.epoch,
            revision=header.revision,
            size_bytes=len(sealed),
        )
        return Published.WRITTEN
    return Published.CONTENDED


def snapshot_reconcile() -> Finding | None:
    """Compare what the data planes read with the database, and repair the first with the second.

    None when another run is at it: two that both find Redis ahead would begin two new epochs.
    """
    with run_claim("publishing.reconcile", CLAIM_TTL_S) as claim:
        return _reconcile() if claim else None


def _reconcile() -> Finding:
    sealed = cast("bytes | None", redis_client().get(keys.SNAPSHOT))
    finding = _finding(sealed, *revision_current())
    if finding is Finding.CURRENT:
        return finding
    _log.warning("snapshot_reconciled", finding=finding.value)
    if finding is Finding.AHEAD:
        epoch_renew()
    snapshot_publish(distrusted=sealed if finding is Finding.REFUSED else None)
    return finding


def _finding(sealed: bytes | None, epoch: str, revision: int) -> Finding:
    if not sealed:
        return Finding.MISSING
    try:
        there = wire.open_sealed(sealed, settings.SNAPSHOT_KEY)
    except wire.RefusedError:
        return Finding.REFUSED
    if there.epoch != epoch:
        return Finding.FOREIGN
    if there.revision < revision:
        return Finding.OLDER
    return Finding.AHEAD if there.revision > revision else Finding.CURRENT


def _header(prefix: bytes) -> Header | None:
    try:
        return wire.peek(prefix)
    except wire.RefusedError:
        return None


def _is_up_to_date(there: Header | None, current: tuple[str, int]) -> bool:
    if there is None or there.schema != wire.SCHEMA:
        return False
    epoch, revision = current
    return there.epoch == epoch and there.revision >= revision
