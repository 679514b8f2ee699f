"""The app as Django knows it."""

from __future__ import annotations

from django.apps import AppConfig


class ProxyConfigConfig(AppConfig):
    """The proxy config."""

    name = "control_plane.proxy_config"
    label = "proxy_config"
    verbose_name = "proxy config"
    default_auto_field = "django.db.models.BigAutoField"
