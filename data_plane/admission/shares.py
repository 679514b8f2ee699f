"""What each principal has had, so that the one that has had least goes first.

Virtual token counting (Sheng et al., "Fairness in serving large language models", OSDI 2024): a
counter for each principal, to which the tokens of its prompts are added when they are sent and
twice the tokens of its answers when they are there. Whoever comes back after a pause is lifted to
those that wait, so that nobody saves up. Pure.
"""

from __future__ import annotations

from typing import Final

ANSWER_WEIGHT: Final = 2.0
"""A token that is written takes a node about as long as two that are read."""

MOST_KNOWN: Final = 10_000
"""Principals kept; beyond it those are forgotten that have had no more than others."""


class Shares:
    """The counters, in tokens."""

    def __init__(self) -> None:
        self._had: dict[str, float] = {}
        self._waiting: dict[str, int] = {}
        self._floor = 0.0
        """What the principal had that was served from the queue last: where others come in when
        nobody waits."""

    def had(self, principal: str) -> float:
        """What it has had, in tokens."""
        return self._had.get(principal, 0.0)

    def waits(self, principal: str) -> None:
        """One more request of this principal waits."""
        if principal not in self._waiting:
            least = min(map(self.had, self._waiting), default=self._floor)
            self._had[principal] = max(self.had(principal), least)
        self._waiting[principal] = self._waiting.get(principal, 0) + 1

    def waits_no_more(self, principal: str) -> None:
        """One of them is sent, refused, or gone."""
        left = self._waiting.get(principal, 0) - 1
        if left > 0:
            self._waiting[principal] = left
        else:
            self._waiting.pop(principal, None)

    def served(self, principal: str) -> None:
        """One of them has come to its turn."""
        self._floor = self.had(principal)

    def charge(self, principal: str, tokens: float) -> None:
        """Add what it has had; less than nothing gives back what was not had after all."""
        if len(self._had) >= MOST_KNOWN and principal not in self._had:
            self._forget()
        self._had[principal] = max(self.had(principal) + tokens, 0.0)

    def _forget(self) -> None:
        self._had = {
            principal: had
            for principal, had in self._had.items()
            if had > self._floor or principal in self._waiting
        }
        if len(self._had) >= MOST_KNOWN:
            waiting = {principal: self._had[principal] for principal in self._waiting}
            self._floor = max(self._floor, min(self._had.values()))
            self._had = waiting
