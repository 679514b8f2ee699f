"""Routes of the proxy config, below /api/proxy/. With or without a slash at the end."""

from __future__ import annotations

from django.urls import re_path

from control_plane.proxy_config.views import ProxyConfigView

urlpatterns = [re_path(r"^config/?$", ProxyConfigView.as_view(), name="proxy-config")]
