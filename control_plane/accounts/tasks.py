"""Work of accounts on the schedule."""

from __future__ import annotations

import structlog
from celery import shared_task

from control_plane.accounts import login, tokens
from control_plane.common.outages import postponed_by_outage

log = structlog.get_logger(__name__)


@shared_task(name="accounts.flush_expired", ignore_result=True)
@postponed_by_outage
def flush_expired() -> None:
    """Forget refresh tokens and failed logins that count no more. Twice at once does no harm."""
    log.info("accounts_flushed", tokens=tokens.tokens_flush(), failed_logins=login.failures_flush())
