"""Ollama's releases as numbers that compare."""

from __future__ import annotations

import re
from typing import Final

Release = tuple[int, ...]

ANY_RELEASE: Final[Release] = ()
"""Below every other: nothing is asked for."""

UNKNOWN_RELEASE: Final[Release] = (1 << 30,)
"""Of a node that has not said its version yet: taken for new, or it would get no work at first."""

SUFFIXES: Final[Release] = (0, 17, 6)
"""Knows `:cloud` and `:local` at the end of a model's name."""

_RELEASE: Final = re.compile(r"v?(\d{1,6}(?:\.\d{1,6})*)", re.ASCII)


def release_of(version: str) -> Release:
    """The numbers of a version; a pre-release counts as its release."""
    found = _RELEASE.match(version)
    if found is None:
        return UNKNOWN_RELEASE
    return tuple(int(number) for number in found[1].split("."))
