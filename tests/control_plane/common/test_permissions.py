from __future__ import annotations

from typing import ClassVar

import pytest
from django.contrib.auth.models import AnonymousUser
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory, force_authenticate
from rest_framework.views import APIView

from control_plane.accounts.models import User
from control_plane.common.roles import PUBLIC, Role


class Half(APIView):
    """Offers more methods than it declares."""

    required_roles: ClassVar = {"GET": PUBLIC, "PUT": Role.OPERATOR}

    def get(self, request):
        return Response()

    put = post = get


class Silent(Half):
    """Declares nothing."""

    required_roles: ClassVar = {}


def status(view: type[APIView], method: str, role: Role | None) -> int:
    request = APIRequestFactory().generic(method, "/")
    user = AnonymousUser() if role is None else User(username="x", role=role.value)
    force_authenticate(request, user=user)
    return view.as_view()(request).status_code


@pytest.mark.parametrize("role", [None, *Role])
def test_a_method_that_is_offered_but_not_declared_is_denied_to_everybody(role, db):
    assert status(Half, "POST", role) in {401, 403}


@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize("role", [None, *Role])
def test_a_view_that_declares_nothing_denies_everything(role, method, db):
    """S32."""
    assert status(Silent, method, role) in {401, 403}


def test_head_is_allowed_where_get_is():
    assert status(Half, "HEAD", None) == 200


@pytest.mark.parametrize(
    ("role", "expected"), [(Role.VIEWER, 403), (Role.OPERATOR, 200), (Role.ADMIN, 200)]
)
def test_a_role_includes_those_below(role, expected, db):
    assert status(Half, "PUT", role) == expected


def test_options_is_for_those_who_are_signed_in(db):
    assert status(Half, "OPTIONS", None) in {401, 403}
    assert status(Half, "OPTIONS", Role.VIEWER) == 200
