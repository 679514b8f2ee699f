"""/api/proxy/state and /api/proxy/active-requests."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, ClassVar

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from control_plane.common.errors import ApiError
from control_plane.common.filters import unknown_parameters_refuse
from control_plane.common.roles import Role
from control_plane.nodes.models import Node
from control_plane.state.explain import explained_now
from control_plane.state.selectors import active_requests_now, state_now
from control_plane.state.serializers import (
    ActiveRequestsSerializer,
    ExplainedSerializer,
    ExplainQuerySerializer,
    StateSerializer,
)

if TYPE_CHECKING:
    from rest_framework.request import Request


class StateView(APIView):
    """The fleet at a glance."""

    required_roles: ClassVar = {"GET": Role.VIEWER}

    @extend_schema(
        operation_id="state_retrieve",
        responses=StateSerializer,
        parameters=[OpenApiParameter("fields", OpenApiTypes.STR, description="Only these fields.")],
    )
    def get(self, request: Request) -> Response:
        """Pools with reasons, latencies, active counts, models, data-plane instances."""
        unknown_parameters_refuse(request, {"fields"})
        state = state_now()
        asked = {name.strip() for name in request.query_params.get("fields", "").split(",")} - {""}
        unknown = sorted(asked - state.keys())
        if unknown:
            detail = f"`fields` takes {', '.join(state)}."
            raise ApiError(400, "invalid_filter", detail, {"fields": [detail]})
        return Response({name: state[name] for name in state if not asked or name in asked})


class ActiveRequestsView(APIView):
    """How busy the nodes are."""

    required_roles: ClassVar = {"GET": Role.VIEWER}

    @extend_schema(
        operation_id="active_requests_retrieve",
        responses=ActiveRequestsSerializer,
        parameters=[OpenApiParameter("node_id", OpenApiTypes.UUID, description="Only this node.")],
    )
    def get(self, request: Request) -> Response:
        """Requests that nodes are processing now, in all and for each data-plane instance."""
        unknown_parameters_refuse(request, {"node_id"})
        nodes = Node.objects.order_by("name")
        asked = request.query_params.get("node_id")
        if asked is None:
            return Response(active_requests_now(nodes))
        try:
            found = list(nodes.filter(pk=uuid.UUID(asked)))
        except ValueError as error:
            raise Http404 from error
        if not found:
            raise Http404
        return Response(active_requests_now(found))


class ExplainView(APIView):
    """Where the next request for a model would go."""

    required_roles: ClassVar = {"GET": Role.VIEWER}

    @extend_schema(
        operation_id="explain_retrieve",
        responses=ExplainedSerializer,
        parameters=[ExplainQuerySerializer],
    )
    def get(self, request: Request) -> Response:
        """The node that a data plane would choose now, why, and every other node with what it lacks
        or what keeps it out. Nothing is sent to any node. 503 when no data plane answers.
        """
        query = ExplainQuerySerializer(data=request.query_params)
        unknown_parameters_refuse(request, query.fields)
        query.is_valid(raise_exception=True)
        return Response(explained_now(**query.validated_data))
