"""The app's registration."""

from django.apps import AppConfig


class CommonConfig(AppConfig):
    """Registers the system checks."""

    name = "control_plane.common"
    label = "common"

    def ready(self) -> None:
        """Load the checks, which register themselves."""
        from control_plane.common import checks  # noqa: F401 - needs loaded apps
