"""The app's registration."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Operators, tokens, API keys, audit."""

    name = "control_plane.accounts"
    label = "accounts"

    def ready(self) -> None:
        """Load the extension of the API's description, which registers itself."""
        from control_plane.accounts import schema  # noqa: F401 - needs loaded apps
