"""/api/proxy/nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView
from rest_framework.response import Response

from control_plane.common.roles import Role
from control_plane.nodes import services
from control_plane.nodes.errors import VersionConflictError
from control_plane.nodes.filters import ORDERINGS, nodes_filtered
from control_plane.nodes.models import Node
from control_plane.nodes.selectors import nodes_all
from control_plane.nodes.serializers import (
    HEAVY_FIELDS,
    NodeProbedSerializer,
    NodeSerializer,
    NodeWriteSerializer,
    probe_public,
)

if TYPE_CHECKING:
    import uuid

    from django.db.models import QuerySet
    from rest_framework.request import Request

    from control_plane.accounts.models import User

_MAX_REVISION_DIGITS: Final = 19
"""Of the largest that the database holds."""

_LIST_PARAMETERS = [
    OpenApiParameter("fields", OpenApiTypes.STR, description="Only these fields, comma-separated."),
    OpenApiParameter("name", OpenApiTypes.STR, description="Exactly this name."),
    OpenApiParameter("active", OpenApiTypes.BOOL, description="What the operator wishes."),
    OpenApiParameter("health", OpenApiTypes.STR, enum=["unknown", "healthy", "unhealthy"]),
    OpenApiParameter("model", OpenApiTypes.STR, description="Has this model on disk."),
    OpenApiParameter("search", OpenApiTypes.STR, description="Within name and address."),
    OpenApiParameter(
        "ordering", OpenApiTypes.STR, description=f"{', '.join(ORDERINGS)}; - reverses."
    ),
]


class NodesView(GenericAPIView[Node]):
    """All nodes."""

    required_roles: ClassVar = {"GET": Role.VIEWER, "POST": Role.OPERATOR}
    serializer_class = NodeSerializer
    filter_backends = ()

    def get_queryset(self) -> QuerySet[Node]:
        """The nodes asked for; the wide column only when a field needs it."""
        wanted = _wanted_fields(self.request)
        nodes = nodes_all(with_models=bool(wanted & HEAVY_FIELDS))
        return nodes_filtered(nodes, self.request.query_params)

    @extend_schema(operation_id="nodes_list", parameters=_LIST_PARAMETERS)
    def get(self, request: Request) -> Response:
        """List nodes. `available_models` is left out unless `?fields=` names it."""
        left_out = HEAVY_FIELDS - _wanted_fields(request)
        page = self.paginate_queryset(self.get_queryset())
        serializer = self.get_serializer(page, many=True, leave_out=left_out)
        return self.get_paginated_response(serializer.data)

    @extend_schema(
        operation_id="nodes_create",
        request=NodeWriteSerializer,
        responses={201: NodeProbedSerializer},
    )
    def post(self, request: Request) -> Response:
        """Register a node. It is probed at once; an unreachable one is saved in standby."""
        values = _validated(NodeWriteSerializer(data=request.data))
        values.pop("revision", None)
        edited = services.node_create(values, _by(request))
        response = _answer(edited.node.pk, edited, request, status.HTTP_201_CREATED)
        response["Location"] = f"{request.path.rstrip('/')}/{edited.node.pk}"
        return response


class NodeView(GenericAPIView[Node]):
    """One node."""

    required_roles: ClassVar = {
        "GET": Role.VIEWER,
        "PUT": Role.OPERATOR,
        "PATCH": Role.OPERATOR,
        "DELETE": Role.OPERATOR,
    }
    serializer_class = NodeSerializer
    queryset = Node.objects.all()

    @extend_schema(operation_id="nodes_retrieve", parameters=_LIST_PARAMETERS[:1])
    def get(self, _request: Request, node_id: uuid.UUID) -> Response:
        """One node with its models. The ETag is its revision, for If-Match."""
        node = _node_or_404(node_id)
        return _tagged(Response(self.get_serializer(node).data), node)

    @extend_schema(
        operation_id="nodes_update", request=NodeWriteSerializer, responses=NodeProbedSerializer
    )
    def put(self, request: Request, node_id: uuid.UUID) -> Response:
        """Edit a node; what is left out stays as it is. Re-addressing probes it."""
        return self._edit(request, node_id, partial=False)

    @extend_schema(
        operation_id="nodes_partial_update",
        request=NodeWriteSerializer,
        responses=NodeProbedSerializer,
    )
    def patch(self, request: Request, node_id: uuid.UUID) -> Response:
        """Edit some fields of a node. Re-addressing probes it."""
        return self._edit(request, node_id, partial=True)

    @extend_schema(operation_id="nodes_destroy", responses={204: None})
    def delete(self, request: Request, node_id: uuid.UUID) -> Response:
        """Remove a node. Requests that it is answering end undisturbed."""
        node = _node_or_404(node_id)
        services.node_delete(node.pk, _by(request), revision=_if_match(request, node))
        return Response(status=status.HTTP_204_NO_CONTENT)

    def _edit(self, request: Request, node_id: uuid.UUID, *, partial: bool) -> Response:
        node = _node_or_404(node_id)
        values = _validated(NodeWriteSerializer(node, data=request.data, partial=partial))
        seen = values.pop("revision", None)
        matched = _if_match(request, node)
        edited = services.node_update(
            node.pk, values, _by(request), revision=matched if seen is None else seen
        )
        return _answer(node.pk, edited, request, status.HTTP_200_OK)


class NodeCheckView(GenericAPIView[Node]):
    """Probe now."""

    required_roles: ClassVar = {"POST": Role.OPERATOR}
    serializer_class = NodeProbedSerializer
    queryset = Node.objects.all()

    @extend_schema(operation_id="nodes_check", request=None, responses=NodeProbedSerializer)
    def post(self, request: Request, node_id: uuid.UUID) -> Response:
        """Probe the node and look at its models. One good probe takes it out of standby."""
        node = _node_or_404(node_id)
        seen = services.node_check(node)
        return _answer(node.pk, services.Edited(node, seen), request, status.HTTP_200_OK)


def _by(request: Request) -> services.By:
    return services.By(cast("User", request.user), request)  # nobody else has a role


def _wanted_fields(request: Request) -> set[str]:
    return {name.strip() for name in request.query_params.get("fields", "").split(",")}


def _node_or_404(node_id: uuid.UUID) -> Node:
    node = nodes_all(with_models=True).filter(pk=node_id).first()
    if node is None:
        raise Http404
    return node


def _validated(serializer: NodeWriteSerializer) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def _if_match(request: Request, node: Node) -> int | None:
    """The revision that If-Match names; None without the header or with `*`."""
    tag = request.headers.get("If-Match", "").strip()
    if tag in {"", "*"}:
        return None
    text = tag.removeprefix("W/").strip('"')
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_REVISION_DIGITS):
        raise VersionConflictError(node.revision)
    return int(text)


def _answer(
    node_id: uuid.UUID, edited: services.Edited, request: Request, status_code: int
) -> Response:
    """The node as it now stands in the database, with the probe of this edit."""
    node = _node_or_404(node_id)
    data = NodeSerializer(node, context={"request": request}).data
    data["probe"] = probe_public(edited.seen) if edited.seen else None
    return _tagged(Response(data, status=status_code), node)


def _tagged(response: Response, node: Node) -> Response:
    response["ETag"] = f'"{node.revision}"'
    return response
