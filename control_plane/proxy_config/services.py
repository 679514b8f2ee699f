"""Writes of the proxy config."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.db import transaction

from control_plane.accounts.services import audit_record
from control_plane.common.errors import ApiError
from control_plane.common.wake import wake_on_commit
from control_plane.proxy_config.models import ROW, ProxyConfig
from control_plane.proxy_config.selectors import FIELDS, OWN_FIELDS
from control_plane.revisions.services import revision_bump

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rest_framework.request import Request

    from control_plane.accounts.models import User


KEEP_WARM_TASK: Final = "jobs.keep_warm"


class ConfigConflictError(ApiError):
    """The edit was made against older data."""

    def __init__(self, current: int) -> None:
        detail = (
            f"This was changed meanwhile (it is at revision {current}); read it again, then edit."
        )
        super().__init__(409, "version_conflict", detail)


@transaction.atomic
def proxy_config_update(
    values: Mapping[str, Any],
    actor: User | str,
    *,
    revision: int | None = None,
    request: Request | None = None,
) -> ProxyConfig:
    """Change some values. `revision` is the edit that the operator saw (None: the present one)."""
    ProxyConfig.objects.get_or_create(pk=ROW)
    row = ProxyConfig.objects.select_for_update().get(pk=ROW)
    if revision is not None and revision != row.revision:
        raise ConfigConflictError(row.revision)
    names = (*FIELDS, *OWN_FIELDS)
    before = {name: getattr(row, name) for name in names}
    for name in names:
        if name in values:
            setattr(row, name, values[name])
    after = {name: getattr(row, name) for name in names}
    if after == before:
        return row
    row.revision += 1
    row.save()
    if any(after[name] != before[name] for name in FIELDS):
        revision_bump()
    if after["warm_models"] != before["warm_models"]:
        wake_on_commit(KEEP_WARM_TASK)
    audit_record(actor, "proxy_config.update", "proxy_config", before, after, request)
    return row
