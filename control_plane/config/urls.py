"""Every route of the control plane. No trailing slash; one at the end is accepted."""

from django.urls import include, path, re_path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from control_plane.common import views

urlpatterns = [
    path("", views.index),
    re_path(r"^livez/?$", views.live),
    re_path(r"^(?:readyz|healthz|api/health)/?$", views.ready),
    re_path(r"^api/schema/?$", SpectacularAPIView.as_view(), name="schema"),
    re_path(
        r"^swagger/?$",
        SpectacularSwaggerSplitView.as_view(url_name="schema", template_name="common/swagger.html"),
        name="swagger",
    ),
    path("api/", include("control_plane.accounts.urls")),
    path("api/proxy/", include("control_plane.nodes.urls")),
    path("api/proxy/", include("control_plane.proxy_config.urls")),
    path("api/proxy/", include("control_plane.jobs.urls")),
    path("api/proxy/", include("control_plane.state.urls")),
]

handler400 = views.bad_request
handler403 = views.forbidden
handler404 = views.not_found
handler500 = views.server_error
