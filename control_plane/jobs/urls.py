"""Routes of jobs and models, below /api/proxy/. With or without a slash at the end."""

from __future__ import annotations

from typing import Final

from django.urls import re_path

from control_plane.jobs import views

_ID: Final = r"(?P<pk>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})"

# Models are named in the body: their names hold slashes and colons.
urlpatterns = [
    re_path(r"^pull/?$", views.PullView.as_view(), name="pull"),
    re_path(r"^models/?$", views.MatrixView.as_view(), name="models"),
    re_path(r"^models/warm/?$", views.WarmView.as_view(), name="models-warm"),
    re_path(r"^models/delete/?$", views.DeleteView.as_view(), name="models-delete"),
    re_path(r"^models/copy/?$", views.CopyView.as_view(), name="models-copy"),
    re_path(r"^models/load/?$", views.LoadView.as_view(), name="models-load"),
    re_path(r"^models/unload/?$", views.UnloadView.as_view(), name="models-unload"),
    re_path(r"^jobs/?$", views.JobsView.as_view(), name="jobs"),
    re_path(rf"^jobs/{_ID}/?$", views.JobView.as_view(), name="job"),
    re_path(rf"^jobs/{_ID}/cancel/?$", views.JobCancelView.as_view(), name="job-cancel"),
    re_path(rf"^jobs/{_ID}/retry/?$", views.JobRetryView.as_view(), name="job-retry"),
]
