"""Routes of the state, below /api/proxy/. With or without a slash at the end."""

from __future__ import annotations

from django.urls import re_path

from control_plane.state.views import ActiveRequestsView, ExplainView, StateView

urlpatterns = [
    re_path(r"^state/?$", StateView.as_view(), name="state"),
    re_path(r"^active-requests/?$", ActiveRequestsView.as_view(), name="active-requests"),
    re_path(r"^explain/?$", ExplainView.as_view(), name="explain"),
]
