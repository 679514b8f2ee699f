"""How the target of a request finds its route.

Rule 1: matching is exact, after two repairs that real clients need and Go's router would answer
with a redirect that loses the body: `//` counts as `/`, and a slash at the end does not count.
Dot segments, escapes (`%2f`) and `;params` are not repaired, so they find nothing.

Rule 2: `/k/<key>/...` in front of any path is a credential, for clients that can set an address
but no header. It is split off here and shown nowhere else, see `redacted`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from data_plane.protocol.routes import MODELS, OPEN_ENDED, ROUTES, Access, Action, Dialect, Route
from shared.codes import SENTENCES, ErrorCode
from shared.credentials import PREFIX

KEY_PREFIX: Final = "/k/"
_SLASHES: Final = re.compile("/{2,}")
_KEY_TEXT: Final = re.compile(rf"{PREFIX}_[^/]+")


@dataclass(frozen=True, slots=True)
class Match:
    """A route found, and what the target said besides."""

    route: Route
    allow: str
    """Methods of this path, for an Allow header."""

    key: str | None = None
    """Credential of a `/k/<key>/` prefix, not yet judged."""

    name: str = ""
    """Rest of `/v1/models/<name>`, decoded, or of `/api/blobs/<digest>`, as it came."""


class NoRouteError(Exception):
    """No such path: 404, text/plain, as Ollama's router answers it."""

    status: Final = 404
    text: Final = SENTENCES[ErrorCode.ROUTE_NOT_FOUND]


class WrongMethodError(Exception):
    """The path is there, not for this method: 405, text/plain, with an Allow header."""

    status: Final = 405
    text: Final = SENTENCES[ErrorCode.METHOD_NOT_ALLOWED]

    def __init__(self, allow: str) -> None:
        super().__init__(allow)
        self.allow = allow


def _with_options(routes: tuple[Route, ...]) -> dict[str, dict[str, Match]]:
    """By path and method; a GET route answers HEAD too, and every path answers OPTIONS."""
    by_path: dict[str, dict[str, Route]] = {}
    for route in routes:
        methods = by_path.setdefault(route.path, {})
        methods[route.method] = route
        if route.method == "GET":
            methods["HEAD"] = route
    table = {}
    for path, methods in by_path.items():
        first = next(iter(methods.values()))
        methods["OPTIONS"] = Route(
            method="OPTIONS",
            path=path,
            dialect=first.dialect,
            action=Action.OPTIONS,
            access=Access.ANYONE,
        )
        allow = ", ".join(methods)
        table[path] = {method: Match(route, allow) for method, route in methods.items()}
    return table


METHODS: Final = "DELETE, GET, HEAD, OPTIONS, POST"
"""All that some route takes; said where there is no route to ask."""

_EXACT: Final = _with_options(ROUTES)
_PREFIXES: Final = _with_options(OPEN_ENDED)


def lookup(method: str, target: str) -> Match:
    """Find the route of a raw request target; raises NoRouteError or WrongMethodError."""
    path, key = _split_key(_repaired(target))
    methods = _EXACT.get(path)
    if methods is not None:
        match = _choose(methods, method)
        return match if key is None else Match(match.route, match.allow, key)
    return _open_ended(method, path, key)


def dialect_of(target: str) -> Dialect:
    """The dialect to answer in when there is no route to ask."""
    path, _ = _split_key(_repaired(target))
    if path == "/v1/messages" or path.startswith("/v1/messages/"):
        return Dialect.ANTHROPIC
    return Dialect.OPENAI if path.startswith("/v1/") else Dialect.NATIVE


def redacted(target: str) -> str:
    """The path for a log line: without the query, and with keys blotted out wherever they stand."""
    path, key = _split_key(_repaired(target))
    path = _KEY_TEXT.sub("***", path)
    return path if key is None else f"{KEY_PREFIX}***{path}"


def _repaired(target: str) -> str:
    path = target.partition("?")[0].partition("#")[0]
    if "//" in path:
        path = _SLASHES.sub("/", path)
    if path.endswith("/") and len(path) > 1:
        path = path[:-1]
    return path


def _split_key(path: str) -> tuple[str, str | None]:
    if not path.startswith(KEY_PREFIX):
        return path, None
    key, _, rest = path[len(KEY_PREFIX) :].partition("/")
    return "/" + rest, key


def _choose(methods: dict[str, Match], method: str) -> Match:
    try:
        return methods[method]
    except KeyError:
        raise WrongMethodError(next(iter(methods.values())).allow) from None


def _open_ended(method: str, path: str, key: str | None) -> Match:
    for prefix, methods in _PREFIXES.items():
        rest = path[len(prefix) :]
        if not path.startswith(prefix) or not rest:
            continue
        if prefix != MODELS and "/" in rest:
            break
        match = _choose(methods, method)
        return Match(match.route, match.allow, key, _unescaped(rest) if prefix == MODELS else rest)
    raise NoRouteError


def _unescaped(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise NoRouteError from None
