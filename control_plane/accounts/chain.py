"""The chain of the audit log: each record is linked to the one before it.

    link = HMAC-SHA256(key, link of the record before, the record as canonical JSON)

The key is made of AIVONX_SECRET_KEY, which is not in the database: whoever can drop the triggers
there can still make no links. `AuditHead` says how long the chain is and where it ends, under a
seal of its own, so that its end cannot be cut off either. What remains: putting back a whole
database of an earlier day, head and all; compare the number that `manage.py audit_verify` prints.
"""

from __future__ import annotations

import json
from typing import Final

from django.db import transaction
from django.utils.crypto import constant_time_compare, salted_hmac

from control_plane.accounts.models import THE_HEAD, AuditHead, AuditRecord

_SALT: Final = "control_plane.accounts.chain"
_FIELDS: Final = ("actor", "ip", "request_id", "action", "target", "before", "after")
_AT_ONCE: Final = 1_000


class BrokenChainError(Exception):
    """The audit log is not what was written."""

    def __init__(self, broken: AuditRecord | None, last: AuditRecord | None) -> None:
        """`last` is the last good record; `broken` the next one, None if it is missing."""
        good = f"record {last.pk}" if last is not None else "the beginning"
        if broken is None:
            text = f"what was written after {good} is missing, or AIVONX_SECRET_KEY is another"
        else:
            text = (
                f"record {broken.pk} is not what was written after {good}: it was changed, others"
                " were taken away between them, or AIVONX_SECRET_KEY is another"
            )
        super().__init__(text)


def link_of(previous: str, record: AuditRecord) -> str:
    """The link of a record that follows the one whose link is `previous`."""
    said = {name: getattr(record, name) for name in _FIELDS}
    said["at"] = record.at.isoformat()
    said["actor_id"] = str(record.actor_id) if record.actor_id else None
    return _mac(f"{previous}\n{json.dumps(said, sort_keys=True)}")


def append(record: AuditRecord) -> None:
    """Link a record to the end and save it; within a transaction. Writers come one after another:
    the row of the head is locked until the end of the transaction.
    """
    head, _ = AuditHead.objects.select_for_update().get_or_create(pk=THE_HEAD)
    record.link = link_of(head.link, record)
    record.save()
    head.link, head.records = record.link, head.records + 1
    head.seal = _seal_of(head)
    head.save()


def verify() -> int:
    """Walk along the chain; how many records it has. Raises BrokenChainError.

    Records from before there was a chain have no link; none may come after one that has.
    """
    previous: AuditRecord | None = None
    records = 0
    with transaction.atomic():  # nobody appends meanwhile
        head, _ = AuditHead.objects.select_for_update().get_or_create(pk=THE_HEAD)
        for record in AuditRecord.objects.order_by("id").iterator(chunk_size=_AT_ONCE):
            if previous is None and not record.link:
                continue
            link = previous.link if previous is not None else ""
            if not constant_time_compare(record.link, link_of(link, record)):
                raise BrokenChainError(record, previous)
            previous, records = record, records + 1
    is_same = (head.records, head.link) == (records, previous.link if previous is not None else "")
    if not is_same or (records and not constant_time_compare(head.seal, _seal_of(head))):
        raise BrokenChainError(None, previous)
    return records


def _seal_of(head: AuditHead) -> str:
    return _mac(f"head\n{head.records}\n{head.link}")


def _mac(text: str) -> str:
    return salted_hmac(_SALT, text, algorithm="sha256").hexdigest()
