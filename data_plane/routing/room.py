"""How much a node's memory holds: Ollama says what is in it, and never its size."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


class Room:
    """What was seen of one node."""

    __slots__ = ("_tried", "held_bytes", "is_known")

    def __init__(self) -> None:
        self.held_bytes = 0.0
        """The most that it held at once."""

        self.is_known = False
        """Whether a load made others leave: more than that it does not hold."""

        self._tried: frozenset[str] | None = None
        """What would be there now if there had been room for the last load."""

    def tries(self, keys: frozenset[str]) -> None:
        """A model is about to be loaded; these would be there then."""
        self._tried = keys

    def shows(self, sizes: Mapping[str, float], *, is_loading: bool) -> None:
        """The node says what it holds, each with its bytes."""
        self.held_bytes = max(self.held_bytes, sum(sizes.values()))
        if self._tried is not None and not is_loading:
            self.is_known = self.is_known or not self._tried <= sizes.keys()
            self._tried = None
