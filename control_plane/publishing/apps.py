"""The app as Django knows it."""

from __future__ import annotations

from django.apps import AppConfig


class PublishingConfig(AppConfig):
    """Snapshots on their way to the data planes."""

    name = "control_plane.publishing"
    label = "publishing"
    verbose_name = "publishing"
    default_auto_field = "django.db.models.BigAutoField"
