"""Which web origins may call us from a browser: what OLLAMA_ORIGINS means on an Ollama server.

Always allowed: this machine on any port, desktop applications, and the origin that is ourselves.
`AIVONX_ORIGINS` adds more, as OLLAMA_ORIGINS does: in an entry one `*` stands for any text, and
nothing else is special. Browser extensions are added so (`chrome-extension://*`): they are allowed
by their scheme once it is named, never by default, since any extension could call then.
"""

from __future__ import annotations

from typing import Final

_LOCAL_HOSTS: Final = ("localhost", "127.0.0.1", "0.0.0.0")  # noqa: S104 - an origin, not a bind
ALWAYS: Final = (
    *(
        f"{scheme}://{host}{port}"
        for host in _LOCAL_HOSTS
        for scheme in ("http", "https")
        for port in ("", ":*")
    ),
    "app://*",
    "file://*",
    "tauri://*",
    "vscode-webview://*",
    "vscode-file://*",
)

ALLOWED_METHODS: Final = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS"
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, User-Agent, Accept, X-Requested-With, x-api-key, "
    "openai-beta, anthropic-version, anthropic-beta, anthropic-dangerous-direct-browser-access, "
    "x-stainless-arch, x-stainless-async, x-stainless-custom-poll-interval, "
    "x-stainless-helper-method, x-stainless-lang, x-stainless-os, x-stainless-package-version, "
    "x-stainless-poll-helper, x-stainless-retry-count, x-stainless-runtime, "
    "x-stainless-runtime-version, x-stainless-timeout"
)
EXPOSED_HEADERS: Final = "X-Request-Id, X-Aivonx-Node, X-Aivonx-Attempts, Retry-After"
MAX_AGE_S: Final = 43_200
MAX_ORIGIN_LENGTH: Final = 512


class Origins:
    """Decides about Origin headers."""

    def __init__(self, further: tuple[str, ...]) -> None:
        patterns = [pattern.lower().partition("*") for pattern in (*ALWAYS, *further)]
        self._exact = frozenset(start for start, star, _ in patterns if not star)
        self._between = tuple((start, end) for start, star, end in patterns if star)

    def is_allowed(self, origin: str, host: str) -> bool:
        """Whether a page of this origin may call; `host` is the request's Host header."""
        if len(origin) > MAX_ORIGIN_LENGTH:
            return False
        if not origin.isascii() or not origin.isprintable():
            return False  # it will stand in a header of the answer
        lowered = origin.lower()
        if lowered in {f"http://{host.lower()}", f"https://{host.lower()}"}:
            return True
        return lowered in self._exact or any(
            len(lowered) >= len(start) + len(end)
            and lowered.startswith(start)
            and lowered.endswith(end)
            for start, end in self._between
        )


def answer_headers(origin: str) -> dict[str, str]:
    """What an answer to an allowed origin carries."""
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": EXPOSED_HEADERS,
        "Vary": "Origin",
    }


def preflight_headers(origin: str) -> dict[str, str]:
    """What the answer to a preflight carries."""
    return {
        **answer_headers(origin),
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Max-Age": str(MAX_AGE_S),
    }
