"""What the data planes say about what was published: applied, refused, or not yet."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from shared import keys

if TYPE_CHECKING:
    from collections.abc import Iterable

    from control_plane.common.reports import Instance
    from shared.reports import RefusedRevision


class Applied(StrEnum):
    """How an instance stands to the present revision."""

    CURRENT = "current"
    BEHIND = "behind"
    FOREIGN_EPOCH = "foreign_epoch"
    NOTHING = "nothing"
    SILENT = "silent"


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """What one data-plane instance made of the snapshot."""

    instance: str
    applied: Applied
    epoch: str
    revision: int
    refused: RefusedRevision | None
    age_s: float


def acknowledgements(
    instances: Iterable[Instance], epoch: str, revision: int, now: float | None = None
) -> list[Acknowledgement]:
    """One line per instance that has reported within the last hour."""
    now = time.time() if now is None else now
    return [_acknowledgement(instance, epoch, revision, now) for instance in instances]


def _acknowledgement(instance: Instance, epoch: str, revision: int, now: float) -> Acknowledgement:
    report = instance.report
    age_s = max(0.0, now - instance.seen_at)
    if report is None or age_s > keys.REPORT_TTL_S:
        return Acknowledgement(instance.name, Applied.SILENT, "", 0, None, age_s)
    if not report.epoch:
        applied = Applied.NOTHING
    elif report.epoch != epoch:
        applied = Applied.FOREIGN_EPOCH
    else:
        applied = Applied.CURRENT if report.revision >= revision else Applied.BEHIND
    return Acknowledgement(
        instance.name, applied, report.epoch, report.revision, report.refused, age_s
    )
