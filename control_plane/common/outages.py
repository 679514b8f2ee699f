"""Work on the schedule while a database or Redis is away: one log line, not a traceback each time.

Such work is due again at the next tick anyway, so nothing is lost by ending here.
"""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import structlog
from redis.exceptions import RedisError

from control_plane.common.errors import DATABASE_ERRORS

if TYPE_CHECKING:
    from collections.abc import Callable

log = structlog.get_logger(__name__)

_P = ParamSpec("_P")
_R = TypeVar("_R")


def postponed_by_outage(work: Callable[_P, _R]) -> Callable[_P, _R | None]:
    """Let a task end quietly, with None, when what it stands on is away."""

    @wraps(work)
    def wrapped(*args: _P.args, **kwargs: _P.kwargs) -> _R | None:
        try:
            return work(*args, **kwargs)
        except (RedisError, *DATABASE_ERRORS) as error:
            log.warning("task_postponed", task=work.__name__, error=type(error).__name__)
            return None

    return wrapped
