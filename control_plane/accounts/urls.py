"""Routes of accounts, below /api/. With or without a slash at the end."""

from __future__ import annotations

from typing import Final

from django.urls import re_path

from control_plane.accounts import views
from shared.credentials import ID_LENGTH

# Anything else is no route, so 404.
_USER: Final = r"(?P<pk>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})"
_KEY: Final = rf"(?P<pk>[0-9A-Za-z]{{{ID_LENGTH}}})"

urlpatterns = [
    re_path(r"^account/login/?$", views.LoginView.as_view(), name="login"),
    re_path(r"^account/refresh/?$", views.RefreshView.as_view(), name="refresh"),
    re_path(r"^account/logout/?$", views.LogoutView.as_view(), name="logout"),
    re_path(r"^account/me/?$", views.MeView.as_view(), name="me"),
    re_path(r"^account/users/?$", views.UsersView.as_view(), name="users"),
    re_path(rf"^account/users/{_USER}/?$", views.UserView.as_view(), name="user"),
    re_path(r"^account/keys/?$", views.KeysView.as_view(), name="keys"),
    re_path(rf"^account/keys/{_KEY}/?$", views.KeyView.as_view(), name="key"),
    re_path(r"^audit/?$", views.AuditView.as_view(), name="audit"),
]
