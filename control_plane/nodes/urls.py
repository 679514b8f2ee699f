"""Routes of nodes, below /api/proxy/. With or without a slash at the end."""

from __future__ import annotations

from typing import Final

from django.urls import re_path

from control_plane.nodes.views import NodeCheckView, NodesView, NodeView

# Upper case too, as any spelling of a UUID names the same node; anything else is no route, so 404.
_ID: Final = r"(?P<node_id>[0-9A-Fa-f]{8}-(?:[0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12})"

urlpatterns = [
    re_path(r"^nodes/?$", NodesView.as_view(), name="nodes"),
    re_path(rf"^nodes/{_ID}/?$", NodeView.as_view(), name="node"),
    re_path(rf"^nodes/{_ID}/check/?$", NodeCheckView.as_view(), name="node-check"),
]
