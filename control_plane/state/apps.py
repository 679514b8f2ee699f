"""The app as Django knows it."""

from __future__ import annotations

from django.apps import AppConfig


class StateConfig(AppConfig):
    """What the fleet is doing now."""

    name = "control_plane.state"
    label = "state"
    verbose_name = "state"
    default_auto_field = "django.db.models.BigAutoField"
