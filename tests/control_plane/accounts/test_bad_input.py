"""What clients send by mistake or on purpose (C07, C08, C20, C33)."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

KEYS = "/api/account/keys"
SHAPE = {"detail", "code", "errors", "request_id"}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (b"{", 400, "parse_error"),
        (b"", 400, "invalid"),
        (b"[]", 400, "invalid"),
        (b'"text"', 400, "invalid"),
        (b"null", 400, "invalid"),
        (b'{"name": 1e999}', 400, "parse_error"),
        (b'{"name": ' + b"9" * 5_000 + b"}", 400, "parse_error"),
        (b'{"name": NaN}', 400, "parse_error"),
        (b'{"name": ["x"]}', 400, "invalid"),
        (b'{"name": {"a": 1}}', 400, "invalid"),
        (b'{"name": "a", "name": "b"}', 400, "parse_error"),
        (b'{"name": "a", "what": 1}', 400, "invalid"),
        (b"\xff\xfe", 400, "parse_error"),
        (b"[" * 100_000, 400, "parse_error"),
        (b'{"a":' * 100_000, 400, "parse_error"),
        (b'{"name": "a", "allowed_models": [' + b"{}," * 200_000 + b"{}]}", 400, "invalid"),
        (b'{"name": "a", "scopes": [' + b"{}," * 200_000 + b"{}]}", 400, "invalid"),
        (b'{"name": "a", "scopes": ["' + b"x" * 500_000 + b'"]}', 400, "invalid"),
        (b'{"name": "a", "expires_at": "' + b"x" * 500_000 + b'"}', 400, "invalid"),
        (
            b'{"name": "a", ' + b",".join(b'"f%d": 1' % n for n in range(50_000)) + b"}",
            400,
            "invalid",
        ),
        (b'{"name": "' + b"x" * 10_000_000 + b'"}', 413, "payload_too_large"),
        (b'{"name": "a\\u0000b"}', 400, "invalid"),
        (b'{"name": "\\ud800"}', 400, "parse_error"),
        (b'{"\\ud800": 1}', 400, "parse_error"),
        (b'{"name": "' + b"x" * 10_000 + b'"}', 400, "invalid"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_c07_c08_a_body_that_cannot_be_used(
    as_operator: APIClient, body: bytes, status: int, code: str
) -> None:
    answer = as_operator.generic("POST", KEYS, body, content_type="application/json")
    assert answer.status_code == status
    assert set(answer.json()) == SHAPE
    assert answer.json()["code"] == code
    assert all(isinstance(faults, list) for faults in answer.json()["errors"].values())
    assert len(answer.content) < 10_000


@pytest.mark.parametrize("name", ["a\0b", "a b", "x" * 65, "<script>", "=cmd", "bö", ""])
def test_c08_names_of_users_are_plain(as_admin: APIClient, name: str) -> None:
    """C30."""
    body = {"username": name, "password": "a rather long password"}
    assert as_admin.post("/api/account/users", body).status_code == 400


@pytest.mark.parametrize("name", ["a\0b", "x" * 10_000, 7.5e300, None, ["bob"]])
def test_c08_signing_in_with_nonsense(as_nobody: APIClient, name: object) -> None:
    answer = as_nobody.post("/api/account/login", {"username": name, "password": "x"})
    assert answer.status_code in {400, 401}
    assert set(answer.json()) == SHAPE


@pytest.mark.parametrize(
    "path",
    [
        "/api/account/users/1",
        "/api/account/users/00000000-0000-0000-0000-000000000000",
        "/api/account/users/..%2f..%2fetc",
        "/api/account/keys/unknown",
        "/api/account/keys/abcdefghijkl",
        "/api/account/keys/%00",
        "/api/account/keys/../../etc/passwd",
        "/api/proxy/nodes/1",
        "/api/proxy/nodes/00000000-0000-0000-0000-000000000000",
        "/api/proxy/nodes/..%2f..%2fetc%2fpasswd",
        "/api/proxy/jobs/1",
        "/api/proxy/jobs/%00",
    ],
)
@pytest.mark.parametrize("method", ["get", "patch", "delete"])
def test_c20_what_is_no_id_of_ours_is_404(as_admin: APIClient, path: str, method: str) -> None:
    answer = getattr(as_admin, method)(path)
    assert answer.status_code == 404
    assert set(answer.json()) == SHAPE


@pytest.mark.parametrize("path", ["/api/account/login", "/api/account/login/", KEYS, KEYS + "/"])
def test_both_forms_of_a_route_are_the_same(as_operator: APIClient, path: str) -> None:
    assert as_operator.put(path, {}).status_code == 405


@pytest.mark.parametrize("path", [KEYS, "/api/account/login", "/api/account/me", "/api/audit"])
def test_c33_methods_media_types_and_accept_in_the_error_shape(
    as_admin: APIClient, path: str
) -> None:
    wrong_method = as_admin.put(path, {})
    assert (wrong_method.status_code, wrong_method.json()["code"]) == (405, "method_not_allowed")
    assert wrong_method["Allow"]
    reading = as_admin.get if path != "/api/account/login" else as_admin.post
    unacceptable = reading(path, headers={"Accept": "text/html"})
    assert (unacceptable.status_code, unacceptable.json()["code"]) == (406, "not_acceptable")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "multipart/form-data; boundary=x", "text/xml"]
)
def test_c33_another_media_type_is_415(as_operator: APIClient, media_type: str) -> None:
    """S36."""
    answer = as_operator.generic("POST", KEYS, b"name=x", content_type=media_type)
    assert (answer.status_code, answer.json()["code"]) == (415, "unsupported_media_type")


def test_options_tell_who_is_signed_in_what_there_is(
    as_viewer: APIClient, as_nobody: APIClient
) -> None:
    assert as_viewer.options(KEYS).status_code == 200
    refused = as_nobody.options(KEYS)
    assert (refused.status_code, set(refused.json())) == (401, SHAPE)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/api/account/users", {"username": "u", "password": "p" * 20, "role": "x" * 500_000}),
        ("/api/proxy/pull", {"model": "m", "nodes": [{}] * 100_000}),
        ("/api/proxy/pull", {"model": "m", "nodes": ["n" * 64] * 10_000}),
        ("/api/proxy/pull", {"model": "m" * 500_000}),
        ("/api/proxy/nodes", {"name": "n" * 500_000, "address": "a" * 500_000}),
        ("/api/proxy/nodes", {"name": "n", "address": "10.0.0.1", "token": "t" * 500_000}),
    ],
)
def test_c07_an_answer_does_not_grow_with_what_was_sent(
    as_admin: APIClient, path: str, body: dict[str, object]
) -> None:
    """S12."""
    answer = as_admin.post(path, body)
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid")
    assert len(answer.content) < 2_000
