"""/api/proxy/config."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, cast

from drf_spectacular.utils import extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response

from control_plane.common.roles import Role
from control_plane.proxy_config.models import ProxyConfig
from control_plane.proxy_config.selectors import proxy_config_defaults, proxy_config_row
from control_plane.proxy_config.serializers import ProxyConfigSerializer
from control_plane.proxy_config.services import proxy_config_update

if TYPE_CHECKING:
    from rest_framework.request import Request

    from control_plane.accounts.models import User


class ProxyConfigView(GenericAPIView[ProxyConfig]):
    """The one proxy config."""

    required_roles: ClassVar = {"GET": Role.VIEWER, "PUT": Role.OPERATOR, "PATCH": Role.OPERATOR}
    serializer_class = ProxyConfigSerializer
    queryset = ProxyConfig.objects.all()

    @extend_schema(operation_id="proxy_config_retrieve")
    def get(self, _request: Request) -> Response:
        """What the data planes go by."""
        return Response(self.get_serializer(proxy_config_row()).data)

    @extend_schema(operation_id="proxy_config_update")
    def put(self, request: Request) -> Response:
        """Set every value; one that is left out goes back to its default."""
        return self._edit(request, partial=False)

    @extend_schema(operation_id="proxy_config_partial_update")
    def patch(self, request: Request) -> Response:
        """Change some values."""
        return self._edit(request, partial=True)

    def _edit(self, request: Request, *, partial: bool) -> Response:
        serializer = self.get_serializer(proxy_config_row(), data=request.data, partial=partial)
        serializer.is_valid(raise_exception=True)
        values = dict(serializer.validated_data)
        revision = values.pop("revision", None)
        if not partial:
            values = {**proxy_config_defaults(), **values}
        operator = cast("User", request.user)  # nobody else has a role
        row = proxy_config_update(values, operator, revision=revision, request=request)
        return Response(self.get_serializer(row).data)
