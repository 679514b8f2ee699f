"""How much one key may ask of nodes: so many requests at once, so many a minute.

Whoever asks for more is refused, not held: one tenant's flood must not become everybody's queue.
The minute is a bucket that holds `requests_per_minute` and fills evenly, so that a whole minute's
requests may come at once and then one each time that one has flown in (the token bucket of nginx's
`limit_req burst nodelay`). A refused request takes nothing out.

Counted by this process alone; keys without limits are never looked up here.
"""

from __future__ import annotations

import random
from math import ceil
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Set as AbstractSet

    from shared.snapshot import ApiKey

WAIT_MAX_S: Final = 5
"""When a request of the same key will have ended nobody knows: 1 to this, at random."""

_MINUTE_S: Final = 60.0


class OverLimitError(Exception):
    """The key has used up what it may ask; `wait_s` is for Retry-After, in whole seconds."""

    def __init__(self, sentence: str, wait_s: int) -> None:
        super().__init__(sentence)
        self.sentence = sentence
        self.wait_s = wait_s


class _Use:
    """What one key uses."""

    __slots__ = ("active_count", "left", "seen_at")

    def __init__(self) -> None:
        self.active_count = 0
        self.left: float | None = None
        """In the bucket, at `seen_at`; None: full."""

        self.seen_at = 0.0


class Place:
    """One request under way of a key that has limits."""

    __slots__ = ("_use",)

    def __init__(self, use: _Use) -> None:
        use.active_count += 1
        self._use: _Use | None = use

    def release(self) -> None:
        """Give it back; a second call does nothing."""
        use, self._use = self._use, None
        if use is not None:
            use.active_count -= 1


class KeyLimits:
    """One per process. `now` is a monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._uses: dict[str, _Use] = {}

    def enter(self, key: ApiKey) -> Place:
        """Let a request of this key in. Raises OverLimitError."""
        now, use = self._now(), self._uses.get(key.id)
        limit = key.requests_per_minute
        if use is None:
            use = self._uses[key.id] = _Use()
        if key.max_active is not None and use.active_count >= key.max_active:
            raise OverLimitError(
                f"this API key may have {_counted(key.max_active, 'request')} under way at one "
                "time; wait for an answer, or ask an operator for more",
                random.randint(1, WAIT_MAX_S),  # noqa: S311 - spread, no secret
            )
        if limit is not None:
            per_s = limit / _MINUTE_S
            left = float(limit)
            if use.left is not None:
                left = min(use.left + (now - use.seen_at) * per_s, left)
            use.left, use.seen_at = left, now
            if left < 1.0:
                raise OverLimitError(
                    f"this API key may make {_counted(limit, 'request')} a minute; slow down, or "
                    "ask an operator for more",
                    ceil((1.0 - left) / per_s) if limit else int(_MINUTE_S),
                )
            use.left = left - 1.0
        return Place(use)

    def active_count(self, key_id: str) -> int:
        """Requests of a key that are under way, if it has limits."""
        use = self._uses.get(key_id)
        return use.active_count if use is not None else 0

    def keep(self, key_ids: AbstractSet[str]) -> None:
        """Forget keys that are no more, once nothing of theirs is under way."""
        self._uses = {
            key_id: use
            for key_id, use in self._uses.items()
            if key_id in key_ids or use.active_count
        }


def is_limited(key: ApiKey) -> bool:
    """Whether there is anything to count for this key."""
    return key.max_active is not None or key.requests_per_minute is not None


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
