from __future__ import annotations

from datetime import timedelta

import pytest
from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework_simplejwt.exceptions import InvalidToken
from rest_framework_simplejwt.settings import api_settings

from control_plane.common.errors import ApiError
from control_plane.common.exceptions import exception_handler


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404(), 404, "not_found"),
        (PermissionDenied(), 403, "permission_denied"),
        (SuspiciousOperation(), 400, "invalid"),
        (exceptions.NotAuthenticated(), 401, "not_authenticated"),
        (exceptions.AuthenticationFailed(), 401, "not_authenticated"),
        (InvalidToken(), 401, "token_not_valid"),
        (exceptions.Throttled(wait=7), 429, "throttled"),
        (exceptions.ValidationError("no"), 400, "invalid"),
        (ApiError(409, "already_exists", "There is one."), 409, "already_exists"),
    ],
)
def test_each_error_has_its_status_and_code(error, status, code):
    response = exception_handler(error, {})
    assert response.status_code == status
    assert set(response.data) == {"detail", "code", "errors", "request_id"}
    assert response.data["code"] == code
    assert isinstance(response.data["detail"], str)


@pytest.mark.parametrize(
    ("error", "next_step"),
    [
        (exceptions.NotAuthenticated(), "POST /api/account/login"),
        (InvalidToken(), "POST /api/account/refresh"),
        (exceptions.UnsupportedMediaType("text/plain"), "Content-Type: application/json"),
    ],
)
def test_an_error_of_a_library_says_what_to_do_next(error, next_step):
    assert next_step in exception_handler(error, {}).data["detail"]


def test_five_minutes_are_what_an_access_token_lives():
    assert timedelta(minutes=5) == api_settings.ACCESS_TOKEN_LIFETIME


@pytest.mark.parametrize("error", [OperationalError("x"), InterfaceError("x")])
def test_a_database_that_is_away_is_503_and_says_when_to_come_again(error, db):
    response = exception_handler(error, {})
    assert response.status_code == 503
    assert response["Retry-After"]
    assert b"database_unavailable" in response.content


def test_what_nobody_foresaw_is_left_to_django():
    assert exception_handler(RuntimeError(), {}) is None


def test_headers_of_an_error_are_sent():
    error = ApiError(429, "login_locked", "Wait.", headers={"Retry-After": "900"})
    assert exception_handler(error, {})["Retry-After"] == "900"


@pytest.mark.parametrize(
    ("detail", "errors"),
    [
        ("plain", {"non_field_errors": ["plain"]}),
        ({"name": ["a", "b"]}, {"name": ["a", "b"]}),
        ({"name": "a"}, {"name": ["a"]}),
        ({"tags": {2: ["bad"]}}, {"tags.2": ["bad"]}),
        ({"tags": [{}, {"name": ["bad"]}]}, {"tags.1.name": ["bad"]}),
    ],
)
def test_faults_are_lists_of_sentences_by_field(detail, errors):
    response = exception_handler(exceptions.ValidationError(detail), {})
    assert response.data["errors"] == errors
