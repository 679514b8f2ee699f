"""Which models a key may use: names, or globs over them, in the form that is compared.

`qwen3` is qwen3:latest only; `qwen3:*` is every tag of it; `qwen3*` is every model whose name
begins so, with any tag; `*` is every model of every namespace and host. Globs and not regular
expressions: those can be made to take for ever.
"""

from __future__ import annotations

from typing import Final

from shared.model_names import (
    DEFAULT_HOST,
    DEFAULT_NAMESPACE,
    InvalidModelNameError,
    ModelName,
    canonical_name,
)

MAX_PATTERNS: Final = 200
MAX_WILDCARDS: Final = 8
EVERYTHING: Final = "*/*/*:*"
_WILDCARDS: Final = "*?"
_AS_LETTERS: Final = str.maketrans(dict.fromkeys(_WILDCARDS, "x"))


def canonical_pattern(text: str) -> str:
    """The canonical form of a name or a glob; raises InvalidModelNameError."""
    text = text.strip(" ")
    if not any(wildcard in text for wildcard in _WILDCARDS):
        return canonical_name(text)
    if text == "*":
        return EVERYTHING
    if sum(map(text.count, _WILDCARDS)) > MAX_WILDCARDS:
        raise InvalidModelNameError(text)
    ModelName.parse(text.translate(_AS_LETTERS))  # raises when no name could ever look like this
    path = text.rpartition("://")[2]
    if ":" not in path.rpartition("/")[2]:
        path += ":*"
    defaults = {0: f"{DEFAULT_HOST}/{DEFAULT_NAMESPACE}/", 1: f"{DEFAULT_HOST}/", 2: ""}
    return (defaults[path.count("/")] + path).lower()
