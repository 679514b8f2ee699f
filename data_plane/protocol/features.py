"""What came to Ollama when: the least release of a node that can do what a request asks for.

An older node does not know the route (404, text/plain), or leaves the field out without a word. It
is asked only where no newer holder of the model can be, see `routing.pools.Pools.older_than`. The
releases are those of the API reference, paragraph 8, "Version drift"; what is older than 0.5 is in
every node that anybody still runs, and has no row.
"""

from __future__ import annotations

from typing import Final

from shared.releases import ANY_RELEASE, Release

ROUTES: Final[dict[str, Release]] = {
    "/v1/responses": (0, 13, 3),
    "/v1/messages": (0, 14, 0),
    "/v1/audio/transcriptions": (0, 20, 0),
}

_THINK: Final = {"think": (0, 9, 0)}
_RENDER: Final = {"_debug_render_only": (0, 11, 5)}
_FITTING: Final = {"shift": (0, 12, 4), "truncate": (0, 12, 4)}
_LOGPROBS: Final = {"logprobs": (0, 12, 11), "top_logprobs": (0, 12, 11)}
FIELDS: Final[dict[str, dict[str, Release]]] = {
    "/api/generate": {**_THINK, **_RENDER, **_FITTING, **_LOGPROBS},
    "/api/chat": {**_THINK, **_RENDER, **_FITTING, **_LOGPROBS},
    "/v1/chat/completions": {**_RENDER, **_LOGPROBS},
}
"""By route and key of the body. On routes of the compatible families, what was in them from their
first day is not listed."""

DATED_KEYS: Final = frozenset(key for keys in FIELDS.values() for key in keys)
"""A body with none of these needs no look at the table."""


def least_for_keys(path: str, keys: frozenset[str]) -> Release:
    """The least release that knows these keys of a body on this route."""
    since = FIELDS.get(path, {})
    return max((since[key] for key in keys.intersection(since)), default=ANY_RELEASE)
