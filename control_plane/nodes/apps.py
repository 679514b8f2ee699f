"""The app as Django knows it."""

from __future__ import annotations

from django.apps import AppConfig


class NodesConfig(AppConfig):
    """Nodes, their health and their models."""

    name = "control_plane.nodes"
    label = "nodes"
    verbose_name = "nodes"
    default_auto_field = "django.db.models.BigAutoField"
