"""What a stranger, a typo or an attacker sends, and the one shape that answers it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from django.db import InterfaceError, OperationalError
from django.urls import path
from rest_framework.views import APIView

from control_plane.common.roles import PUBLIC
from control_plane.config import urls

if TYPE_CHECKING:
    from rest_framework.test import APIClient

USERS = "/api/account/users"
PASSWORD = "correct horse battery"


class Broken(APIView):
    authentication_classes = ()
    required_roles = {"GET": PUBLIC}

    def get(self, request):
        raise RuntimeError("a secret detail")


class WithoutDatabase(Broken):
    def get(self, request):
        raise OperationalError("connection to server at 10.0.0.5 failed")


def plain_without_database(_request):
    raise InterfaceError("connection already closed")


urlpatterns = [
    *urls.urlpatterns,
    path("broken", Broken.as_view()),
    path("without-database", WithoutDatabase.as_view()),
    path("plain-without-database", plain_without_database),
]
handler400, handler403 = urls.handler400, urls.handler403
handler404, handler500 = urls.handler404, urls.handler500


def shape(answer, status: int, code: str) -> dict:
    """The body, having checked that it is the one shape."""
    assert answer.status_code == status, answer.content
    assert answer["Content-Type"] == "application/json"
    body = answer.json()
    assert set(body) == {"detail", "code", "errors", "request_id"}
    assert body["code"] == code
    assert body["detail"]
    assert body["request_id"] == answer["X-Request-ID"]
    for faults in body["errors"].values():
        assert all(isinstance(fault, str) for fault in faults)
    return body


@pytest.mark.parametrize(
    "target",
    ["/nope", "/admin", "/.env", "/api", "/api/v9/x", "/static/nope.js", "/api/account/users/1",
     "/api/account/users/../../etc/passwd", "/api/account/users/%00", "/static/%2e%2e/settings.py",
     "/api/account/keys/' OR 1=1", "/swagger/x"],
)  # fmt: skip
def test_what_is_not_there_is_404(target, as_admin):
    shape(as_admin.get(target), 404, "not_found")


def test_an_id_that_is_nobodys_is_404(as_admin):
    shape(as_admin.get(f"{USERS}/00000000-0000-4000-8000-000000000000"), 404, "not_found")


@pytest.mark.parametrize("target", [USERS, "/livez", "/", "/api/schema", "/swagger"])
def test_a_method_that_is_not_offered_is_405(target, as_admin):
    answer = as_admin.delete(target)
    shape(answer, 405, "method_not_allowed")
    assert "GET" in answer["Allow"]


@pytest.mark.parametrize("target", [USERS, "/api/schema"])
def test_an_accept_header_that_cannot_be_met_is_406(target, as_admin):
    shape(as_admin.get(target, HTTP_ACCEPT="image/png"), 406, "not_acceptable")


@pytest.mark.parametrize(
    "media_type",
    ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"],
)
def test_only_json_is_read(media_type, as_admin):
    answer = as_admin.generic("POST", USERS, b"username=x", media_type)
    shape(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("target", ["/livez", USERS, "/nope", "/swagger"])
def test_a_host_that_is_not_ours_is_400(target, as_admin):
    """C21."""
    shape(as_admin.get(target, HTTP_HOST="evil.example"), 400, "invalid")


@pytest.mark.parametrize(
    "body",
    [b"{", b"\xff", b"nonsense", b'{"a":1,"a":2}', b'{"a":NaN}', b'{"a":1e999}', b'{"a":Infinity}',
     b"[" * 100_000, b'{"a":' * 100_000, b'{"a":' + b"9" * 5_000 + b"}", '{"a":1}'.encode("utf-16"),
     b'{"\\ud800":1}', b'{"role":"\\udfff"}', b'{"username":["\\ud800"]}'],
    ids=lambda body: body[:12].decode("latin-1"),
)  # fmt: skip
def test_what_is_no_json_document_is_a_parse_error(body, as_admin):
    shape(as_admin.generic("POST", USERS, body, "application/json"), 400, "parse_error")


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"7", b"null", b"", b"{}"])
def test_a_document_of_another_kind_is_invalid(body, as_admin):
    shape(as_admin.generic("POST", USERS, body, "application/json"), 400, "invalid")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", "a\0b"),
        ("username", "a" * 10_000),
        ("username", {"a": 1}),
        ("username", "line\r\nbreak"),
        ("password", "nul \0 in a password"),
        ("password", "x" * 10_000),
        ("role", "root"),
        ("role", ["admin"]),
        ("is_superuser", True),
        ("id", "00000000-0000-4000-8000-000000000000"),
        ("token_generation", 7),
        ("__class__", "x"),
    ],
)
def test_a_field_that_is_wrong_or_unknown_is_named(field, value, as_admin):
    body = {"username": "dora", "password": PASSWORD, field: value}
    answer = shape(as_admin.post(USERS, body), 400, "invalid")
    assert set(answer["errors"]) == {field}


def test_a_body_over_the_limit_is_413(as_admin):
    body = json.dumps({"username": "a" * 10_000_000}).encode()
    answer = as_admin.generic("POST", USERS, body, "application/json")
    shape(answer, 413, "payload_too_large")


def test_a_body_of_unknown_length_is_411(as_admin):
    answer = as_admin.generic("POST", USERS, b"", HTTP_TRANSFER_ENCODING="chunked")
    shape(answer, 411, "length_required")


def test_faults_inside_of_lists_are_named_by_their_place(as_operator):
    body = {"name": "ci", "allowed_models": ["qwen3", {"a": 1}]}
    answer = shape(as_operator.post("/api/account/keys", body), 400, "invalid")
    assert set(answer["errors"]) == {"allowed_models.1"}


@pytest.mark.parametrize(
    "query",
    ["ordering=password", "ordering=__class__", "ordering=;drop table", "password=x", "page=2",
     "username__startswith=a", "role__in=admin", "is_active=maybe", "role=root", "username=%00",
     "limit=-1", "limit=1e9", "limit=zz", "limit=0", "limit=%00", "offset=-1", "fields=password",
     "offset=99999999999999999999", "cursor=garbage"],
)  # fmt: skip
def test_a_parameter_that_is_not_offered_is_refused(query, as_admin):
    shape(as_admin.get(f"{USERS}?{query}"), 400, "invalid_filter")


@pytest.mark.parametrize(
    "header", ["Bearer x", "Bearer a b", "Bearer", "Basic cm9vdDpyb290", "Bearer \xff", "x" * 9_000]
)
def test_a_credential_that_is_none_is_401(header, as_nobody):
    answer = as_nobody.get(USERS, HTTP_AUTHORIZATION=header)
    assert answer.json()["code"] in {"not_authenticated", "token_not_valid"}
    shape(answer, 401, answer.json()["code"])
    assert answer["WWW-Authenticate"].startswith("Bearer")


@pytest.fixture
def strange(as_nobody, settings) -> APIClient:
    """A client of the routes above, which gets answers and not exceptions."""
    settings.ROOT_URLCONF = __name__
    as_nobody.raise_request_exception = False
    return as_nobody


def test_a_fault_of_ours_is_500_and_tells_nothing(strange):
    """S10."""
    answer = strange.get("/broken")
    shape(answer, 500, "internal_error")
    assert b"secret" not in answer.content
    assert b"Traceback" not in answer.content


@pytest.mark.parametrize("target", ["/without-database", "/plain-without-database"])
def test_a_database_that_is_away_is_503(target, strange):
    """F52."""
    answer = strange.get(target)
    shape(answer, 503, "database_unavailable")
    assert answer["Retry-After"] == "2"
    assert b"10.0.0.5" not in answer.content
