"""The identity of the request at hand, carried from HTTP through Celery into every log line."""

from __future__ import annotations

import ipaddress
import re
import secrets
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from django.conf import settings

if TYPE_CHECKING:
    from django.http import HttpRequest

HEADER: Final = "X-Request-ID"
TASK_HEADER: Final = "aivonx_request_id"
"""The same of a task's message. `request_id` itself would shadow a name of Celery's."""
_ACCEPTED: Final = re.compile(r"[A-Za-z0-9._-]{1,128}", re.ASCII)
_current: ContextVar[str] = ContextVar("request_id", default="")


def current_request_id() -> str:
    """The id of the request being served, or "" outside of one."""
    return _current.get()


def request_id_enter(given: str | None) -> str:
    """Begin a request: take the caller's id when it is well-formed, else make one."""
    request_id = given if given and _ACCEPTED.fullmatch(given) else secrets.token_hex(12)
    _current.set(request_id)
    return request_id


def client_ip(request: HttpRequest) -> str:
    """Where the request comes from.

    X-Forwarded-For is believed only as far as trusted proxies stand in front (counted from the
    right, because whatever stands further left the client may have written itself).
    """
    peer = str(request.META.get("REMOTE_ADDR", ""))
    trusted: int = settings.TRUSTED_PROXIES
    if not trusted:
        return peer
    chain = [part.strip() for part in request.headers.get("X-Forwarded-For", "").split(",") if part]
    return _address(chain[-trusted]) or peer if len(chain) >= trusted else peer


def _address(text: str) -> str:
    """An IP address in its one form, "" for anything else."""
    try:
        return str(ipaddress.ip_address(text.removeprefix("[").partition("]")[0].partition("%")[0]))
    except ValueError:
        return ""
