"""The app's registration."""

from django.apps import AppConfig


class RevisionsConfig(AppConfig):
    """Epoch and revision."""

    name = "control_plane.revisions"
    label = "revisions"
