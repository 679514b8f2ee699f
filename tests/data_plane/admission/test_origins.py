"""Which pages may call from a browser."""

import pytest

from data_plane.admission.origins import Origins


@pytest.mark.parametrize(
    "origin",
    [
        "http://localhost",
        "https://localhost:3000",
        "http://127.0.0.1:8080",
        "http://0.0.0.0:1",
        "app://obsidian.md",
        "tauri://localhost",
        "vscode-webview://abc",
        "http://proxy.lan:11435",
        "https://chat.example",
        "https://a.team.example",
    ],
)
def test_local_pages_desktop_apps_ourselves_and_what_was_added_are_allowed(origin: str) -> None:
    origins = Origins(("https://chat.example", "https://*.team.example"))
    assert origins.is_allowed(origin, "proxy.lan:11435")


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost.evil.example", "null", "", "h" * 9_999]
)
def test_everything_else_is_not(origin: str) -> None:
    assert not Origins(()).is_allowed(origin, "proxy.lan:11435")


def test_a_star_allows_all() -> None:
    assert Origins(("*",)).is_allowed("https://anywhere.example", "proxy.lan")


def test_a_star_is_the_only_sign_that_means_more_than_itself() -> None:
    """Reference 0: OLLAMA_ORIGINS knows one wildcard; `?` and brackets are plain text."""
    origins = Origins(("http://[::1]:*", "https://a?.example", "chrome-extension://*"))
    assert origins.is_allowed("http://[::1]:8080", "proxy.lan")
    assert origins.is_allowed("chrome-extension://abc", "proxy.lan")
    assert not origins.is_allowed("https://ab.example", "proxy.lan")
    assert not Origins(()).is_allowed("chrome-extension://abc", "proxy.lan")
