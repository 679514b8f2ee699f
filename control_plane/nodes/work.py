"""The two kinds of regular work on nodes, as values: what is claimed, how often, what is asked."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.snapshot import ProxyConfig


@dataclass(frozen=True, slots=True)
class _Kind:
    claim_column: str
    interval_setting: str
    asks_the_unhealthy: bool


class Work(Enum):
    """Regular work."""

    CHECK = _Kind("check_claimed_at", "health_interval_s", asks_the_unhealthy=True)
    REFRESH = _Kind("refresh_claimed_at", "model_refresh_interval_s", asks_the_unhealthy=False)

    @property
    def claim_column(self) -> str:
        """The column of Node that says when a run last took it."""
        return self.value.claim_column

    @property
    def asks_the_unhealthy(self) -> bool:
        """Whether nodes known to be down are worth the question."""
        return self.value.asks_the_unhealthy

    def interval_s(self, config: ProxyConfig) -> float:
        """How often the operator wants it done."""
        interval: float = getattr(config, self.value.interval_setting)
        return interval
