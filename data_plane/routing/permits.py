"""Whether a principal may use a model: its list of canonical names, or of globs over them."""

from __future__ import annotations

import re
from fnmatch import translate
from functools import lru_cache
from typing import Final

MAX_LISTS: Final = 4_096
"""Different lists remembered in compiled form; a list more costs one compilation again."""


def is_allowed(canonical: str, allowed: tuple[str, ...] | None) -> bool:
    """Judge a canonical name. None allows every model, an empty list none."""
    if allowed is None:
        return True
    return canonical in allowed or _compiled(allowed).fullmatch(canonical) is not None


@lru_cache(maxsize=MAX_LISTS)
def _compiled(allowed: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(translate(pattern.lower()) for pattern in allowed) or r"(?!)")
