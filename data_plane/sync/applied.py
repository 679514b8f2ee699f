"""The snapshot in force: verified, swapped in as one object, and kept on disk as last good.

Refused, with a named reason, and the old one stays: anything that does not verify, and a lower
revision of the same epoch. The disk is a convenience for restarts; its errors never stop serving.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.pools import Pools
from shared import wire
from shared.reports import RefusedRevision
from shared.snapshot import AvailableModel
from shared.wire import Refusal, RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from shared.snapshot import ApiKey, Model, Node, ProxyConfig, Snapshot
    from shared.wire import Header

FILE_NAME: Final = "snapshot.sealed"
CLOCKS_DIFFER_S: Final = 300.0
"""A database may be restored on another machine, with another clock."""

PERSIST_LOG_INTERVAL_S: Final = 60.0
LISTED_LEAST_S: Final = 4.0
"""So long a node's own word to us counts whatever a snapshot says: what the control plane had seen
before is published after. By then it has been told to look again, and so do we."""

LISTED_KEPT_S: Final = 120.0
"""Two sweeps of the inventory: by then the snapshot knows what a node told us ourselves."""


@dataclass(frozen=True, slots=True)
class Applied:
    """One snapshot with what is built from it. A request takes it once and keeps it to its end."""

    snapshot: Snapshot
    sha256: str
    pools: Pools
    keys: Mapping[str, ApiKey]
    config: ProxyConfig
    """What operators tuned: the snapshot's, at hand."""

    applied_at: float


def build(sealed: bytes, key: bytes) -> Applied:
    """Verify sealed bytes and index what is in them. Raises RefusedError."""
    header = wire.peek(sealed)
    snapshot = wire.open_sealed(sealed, key)
    return Applied(
        snapshot=snapshot,
        sha256=header.sha256,
        pools=Pools.build(snapshot),
        keys={key.id: key for key in snapshot.keys},
        config=snapshot.config,
        applied_at=time.time(),
    )


@dataclass(frozen=True, slots=True)
class _Listed:
    """What a node said that it holds, when we asked it ourselves."""

    models: tuple[tuple[Model, str], ...]
    instead_of: frozenset[tuple[str, str, str]]
    """What the snapshot said then: as long as it says so, the control plane has not looked yet."""

    at: float


def _holding(snapshot: Snapshot, node_id: str) -> frozenset[tuple[str, str, str]]:
    """What a node holds by a snapshot: names, digests and times."""
    for node in snapshot.nodes:
        if node.id == node_id:
            models = [(snapshot.models[each.model], each.modified_at) for each in node.available]
            return frozenset((model.name, model.digest, at) for model, at in models)
    return frozenset()


def _relisted(snapshot: Snapshot, listed: Mapping[str, _Listed]) -> Snapshot:
    """A snapshot in which these nodes hold what they said."""
    models = {model: index for index, model in enumerate(snapshot.models)}

    def relisted(node: Node) -> Node:
        if node.id not in listed:
            return node
        available = tuple(
            AvailableModel(models.setdefault(model, len(models)), modified_at)
            for model, modified_at in listed[node.id].models
        )
        return msgspec.structs.replace(node, available=available)

    nodes = tuple([relisted(node) for node in snapshot.nodes])
    return msgspec.structs.replace(snapshot, models=tuple(models), nodes=nodes)


class AppliedState:
    """Holds the snapshot in force. Only `Subscriber` offers new ones, one after another."""

    def __init__(self, key: bytes, directory: Path, log: Log, metrics: Metrics) -> None:
        self.current: Applied | None = None
        self.refused: RefusedRevision | None = None
        self._key = key
        self._path = directory / FILE_NAME
        self._log = log
        self._metrics = metrics
        self._listeners: list[Callable[[Applied | None, Applied], None]] = []
        self._persist_logged_at = -PERSIST_LOG_INTERVAL_S
        self._listed: dict[str, _Listed] = {}

    def on_applied(self, listener: Callable[[Applied | None, Applied], None]) -> None:
        """Call `listener(before, after)` at every change."""
        self._listeners.append(listener)

    def is_news(self, header: wire.Header | wire.Hint) -> bool:
        """Whether this header announces another state than the one in force."""
        current = self.current
        return current is None or (
            (header.epoch, header.revision, header.sha256)
            != (current.snapshot.epoch, current.snapshot.revision, current.sha256)
        )

    async def offer(self, sealed: bytes, source: str) -> bool:
        """Apply sealed bytes if they are good and newer. Says whether they are in force now."""
        try:
            header = wire.peek(sealed)
            if not self.is_news(header):
                return True
            self._refuse_older(header)
            # In a thread: a thousand nodes take a while, and streams must not notice.
            applied = await asyncio.to_thread(build, sealed, self._key)
            self._refuse_older_epoch(header, applied.snapshot)
            if self._listed:
                applied = await asyncio.to_thread(self._overlaid, applied)
        except RefusedError as error:
            self._refused(error, source)
            return False
        self._swap(applied, source)
        if source != "disk":
            await asyncio.to_thread(self._persist, sealed)
        return True

    def note_listed(self, node_id: str, models: tuple[tuple[Model, str], ...]) -> None:
        """A node has just said what it holds; `relist` puts it in force."""
        current = self.current
        if current is None:
            return
        known = self._listed.get(node_id)
        instead_of = known.instead_of if known else _holding(current.snapshot, node_id)
        self._listed[node_id] = _Listed(models, instead_of, time.monotonic())

    async def relist(self) -> None:
        """Route by what nodes have said, until a snapshot says something else of them."""
        while (current := self.current) is not None:
            applied = await asyncio.to_thread(self._overlaid, current)
            if self.current is current:
                self.current = applied
                for listener in self._listeners:
                    listener(current, applied)
                return

    def _overlaid(self, applied: Applied) -> Applied:
        """The same with the pools made of what nodes have said since. Runs in a thread."""
        snapshot = applied.snapshot
        now = time.monotonic()
        listed = {}
        for node_id, each in [*self._listed.items()]:
            says = _holding(snapshot, node_id)
            if now - each.at < LISTED_LEAST_S:  # it may have looked before the node was changed
                listed[node_id] = replace(each, instead_of=says)
            elif now - each.at < LISTED_KEPT_S and says == each.instead_of:
                listed[node_id] = each
        self._listed = listed
        return replace(applied, pools=Pools.build(_relisted(snapshot, listed)))

    def _refuse_older(self, header: Header) -> None:
        current = self.current
        if (
            current is not None
            and header.epoch == current.snapshot.epoch
            and header.revision < current.snapshot.revision
        ):
            detail = f"{header.revision} after {current.snapshot.revision}"
            raise RefusedError(Refusal.OLDER_REVISION, detail, header)

    def _refuse_older_epoch(self, header: Header, snapshot: Snapshot) -> None:
        """Of a history that had ended before ours began: somebody plays it back."""
        current = self.current
        if (
            current is not None
            and header.epoch != current.snapshot.epoch
            and snapshot.built_at < current.snapshot.built_at - CLOCKS_DIFFER_S
        ):
            age_s = current.snapshot.built_at - snapshot.built_at
            detail = f"built {age_s:.0f} s before the one in force, in another epoch"
            raise RefusedError(Refusal.OLDER_EPOCH, detail, header)

    def _swap(self, applied: Applied, source: str) -> None:
        before, self.current = self.current, applied
        self.refused = None
        for listener in self._listeners:
            listener(before, applied)
        self._metrics.snapshots_applied.inc()
        self._log.info(
            "snapshot_applied",
            epoch=applied.snapshot.epoch,
            revision=applied.snapshot.revision,
            nodes=len(applied.pools.nodes),
            keys=len(applied.keys),
            source=source,
        )

    def _refused(self, error: RefusedError, source: str) -> None:
        header = error.header
        refused = RefusedRevision(
            epoch=header.epoch if header else "",
            revision=header.revision if header else 0,
            reason=error.reason,
        )
        self._metrics.refused(error.reason)
        if refused != self.refused:  # the same bytes are found at every look; say it once
            self._log.error("snapshot_refused", source=source, reason=str(error))
        if source != "disk":
            self.refused = refused

    async def load_last_good(self) -> bool:
        """Apply what the disk has, if it has something good."""
        sealed = await asyncio.to_thread(self._read)
        return sealed is not None and await self.offer(sealed, "disk")

    def _read(self) -> bytes | None:
        try:
            with self._path.open("rb") as file:
                about = os.fstat(file.fileno())
                if about.st_uid != os.geteuid() or not stat.S_ISREG(about.st_mode):
                    self._log.error("last_good_ignored", reason="the file is not ours")
                    return None
                return file.read(wire.MAX_SNAPSHOT_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._log.error("last_good_ignored", reason=str(error))
            return None

    def _persist(self, sealed: bytes) -> None:
        fresh = self._path.with_suffix(f".{os.getpid()}.new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(sealed)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._path)
        except OSError as error:
            with contextlib.suppress(OSError):  # it may not even be there
                fresh.unlink()
            self._metrics.persist_errors.inc()
            if time.monotonic() - self._persist_logged_at >= PERSIST_LOG_INTERVAL_S:
                self._persist_logged_at = time.monotonic()
                self._log.error("last_good_not_written", reason=str(error))
