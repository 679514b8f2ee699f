"""Writes of accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from control_plane.accounts.models import AuditRecord
from control_plane.common.requests import client_ip, current_request_id

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.http import HttpRequest
    from rest_framework.request import Request

    from control_plane.accounts.models import User

MASK: Final = "***"
_SECRET_WORDS: Final = ("password", "token", "secret", "sha256", "passwd")


def audit_record(  # noqa: PLR0913 - the columns of one record
    actor: User | str,
    action: str,
    target: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request: HttpRequest | Request | None = None,
) -> None:
    """Append to the audit log, within the transaction of what it tells of. Secrets are masked."""
    AuditRecord.objects.create(
        actor=actor if isinstance(actor, str) else actor.username,
        actor_id=None if isinstance(actor, str) else actor.pk,
        ip="" if request is None else client_ip(getattr(request, "_request", request)),
        request_id=current_request_id(),
        action=action,
        target=target[:128],
        before=_masked(before),
        after=_masked(after),
    )


def _masked(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {
        name: MASK if value and any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in values.items()
    }
