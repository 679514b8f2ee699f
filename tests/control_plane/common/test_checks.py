from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import pytest
from django.urls import path
from rest_framework.views import APIView

from control_plane.common import checks
from control_plane.common.roles import Role
from shared.environ import Bind

if TYPE_CHECKING:
    from collections.abc import Callable

    from django.core.checks import CheckMessage
    from pytest_django.fixtures import SettingsWrapper


class Undeclared(APIView):
    """A view whose author forgot something."""


class Declared(APIView):
    required_roles: ClassVar = {"GET": Role.ADMIN}


# As if they stood in the control plane: views of libraries are none of ours.
Undeclared.__module__ = Declared.__module__ = "control_plane.somewhere"
urlpatterns = [path("undeclared", Undeclared.as_view()), path("declared", Declared.as_view())]

WIDE = Bind("0.0.0.0", 8000)
HOME = Bind("127.0.0.1", 8000)


def ids(messages: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in messages]


def test_a_view_without_declared_roles_is_an_error(settings):
    settings.ROOT_URLCONF = __name__
    messages = checks.every_view_declares_its_roles()
    assert ids(messages) == ["aivonx.E001"]
    assert "Undeclared at undeclared" in messages[0].msg


def test_every_view_of_ours_declares_its_roles():
    assert checks.every_view_declares_its_roles() == []
    assert len(checks.api_views()) > 10


def change(settings: SettingsWrapper, **values: object) -> None:
    for name, value in values.items():
        setattr(settings, name, value)


@pytest.mark.parametrize(
    ("check", "values", "found"),
    [
        (checks.keys_differ, {}, []),
        (checks.keys_differ, {"SECRET_KEY": "x" * 40, "SNAPSHOT_KEY": b"x" * 40}, ["aivonx.E002"]),
        (checks.used_tokens_are_remembered, {}, []),
        (checks.debug_stays_at_home, {"DEBUG": True, "CONTROL_BIND": HOME}, []),
        (checks.debug_stays_at_home, {"DEBUG": False, "CONTROL_BIND": WIDE}, []),
        (checks.debug_stays_at_home, {"DEBUG": True, "CONTROL_BIND": WIDE}, ["aivonx.E003"]),
        (checks.https_is_seen, {"SECURE_SSL_REDIRECT": True, "TRUSTED_PROXIES": 1}, []),
        (
            checks.https_is_seen,
            {"SECURE_SSL_REDIRECT": True, "TRUSTED_PROXIES": 0},
            ["aivonx.W001"],
        ),
        (
            checks.outside_names_are_allowed,
            {"CONTROL_BIND": WIDE, "ALLOWED_HOSTS": ["localhost", "0.0.0.0"]},
            ["aivonx.W002"],
        ),
        (
            checks.outside_names_are_allowed,
            {"CONTROL_BIND": WIDE, "ALLOWED_HOSTS": ["localhost", "proxy.example"]},
            [],
        ),
        (
            checks.outside_names_are_allowed,
            {"CONTROL_BIND": HOME, "ALLOWED_HOSTS": ["localhost"]},
            [],
        ),
    ],
)
def test_settings_that_contradict_each_other_are_named(
    check: Callable[[], list[CheckMessage]], values, found, settings
):
    change(settings, **values)
    assert ids(check()) == found


def test_an_app_that_forgets_used_tokens_is_an_error(settings):
    """S17."""
    settings.INSTALLED_APPS = [
        name for name in settings.INSTALLED_APPS if not name.endswith("token_blacklist")
    ]
    assert ids(checks.used_tokens_are_remembered()) == ["aivonx.E004"]
