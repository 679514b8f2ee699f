"""The app's registration."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Operators, tokens, API keys, audit."""

    name = "control_plane.accounts"
    label = "accounts"
