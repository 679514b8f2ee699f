"""What browsers are told, and what strangers' pages may do."""

from __future__ import annotations

import re

import pytest
from django.contrib.staticfiles import finders

CSP = {
    "default-src 'self'",
    "img-src 'self' data:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'self'",
    "frame-ancestors 'none'",
}


@pytest.mark.parametrize("target", ["/livez", "/nope", "/swagger", "/api/account/me"])
def test_every_answer_carries_the_headers(target, as_nobody):
    """S30, S31."""
    answer = as_nobody.get(target)
    assert set(answer["Content-Security-Policy"].split("; ")) == CSP
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["Referrer-Policy"] == "same-origin"
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cache-Control"] == "no-store"


def test_a_foreign_origin_gets_no_permission(as_nobody):
    answer = as_nobody.get("/livez", HTTP_ORIGIN="https://evil.example")
    assert "Access-Control-Allow-Origin" not in answer


def test_an_origin_that_is_allowed_may_send_tokens_and_read_what_it_needs(as_nobody, settings):
    settings.CORS_ALLOWED_ORIGINS = ["https://console.example"]
    asked = {
        "HTTP_ORIGIN": "https://console.example",
        "HTTP_ACCESS_CONTROL_REQUEST_METHOD": "PATCH",
        "HTTP_ACCESS_CONTROL_REQUEST_HEADERS": "authorization,if-match",
    }
    preflight = as_nobody.options("/api/account/me", **asked)
    assert preflight["Access-Control-Allow-Origin"] == "https://console.example"
    assert {"authorization", "if-match"} <= set(
        preflight["Access-Control-Allow-Headers"].split(", ")
    )
    answer = as_nobody.get("/livez", HTTP_ORIGIN="https://console.example")
    assert "X-Request-ID" in answer["Access-Control-Expose-Headers"]


def test_swagger_is_served_by_ourselves_without_anything_inline(as_nobody):
    page = as_nobody.get("/swagger").content.decode()
    assert "<style" not in page
    assert not re.search(r"<script(?![^>]*\bsrc=)", page)
    addresses = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert addresses
    for address in addresses:
        assert address.startswith("/"), address
        if address.startswith("/static/"):
            assert finders.find(address.removeprefix("/static/")), address
    script = as_nobody.get("/swagger?script=")
    assert script["Content-Type"] == "application/javascript"
    assert "/api/schema" in script.content.decode()


def test_the_index_leads_to_swagger(as_nobody):
    assert as_nobody.get("/")["Location"] == "/swagger"


def test_the_description_may_be_kept_for_those_who_are_signed_in(as_nobody, as_viewer, settings):
    """C34."""
    settings.PUBLIC_SCHEMA = False
    assert as_nobody.get("/api/schema").status_code == 401
    assert as_viewer.get("/api/schema").status_code == 200
