"""/api/proxy/pull, /api/proxy/models and /api/proxy/jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final, cast

from django.http import Http404
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.response import Response
from rest_framework.throttling import UserRateThrottle

from control_plane.common.filters import unknown_parameters_refuse
from control_plane.common.pagination import LimitOffset
from control_plane.common.roles import Role
from control_plane.jobs import serializers, services
from control_plane.jobs.filters import JobFilter, MatrixFilter
from control_plane.jobs.matrix import Place, row_public, rows_now
from control_plane.jobs.models import Job
from control_plane.jobs.selectors import jobs_all
from control_plane.jobs.warming import warm_public, wishes_judged
from control_plane.nodes.orders import Kind
from control_plane.nodes.selectors import nodes_all

if TYPE_CHECKING:
    import uuid

    from rest_framework.request import Request

    from control_plane.accounts.models import User

MATRIX_PARAMETERS: Final = [
    OpenApiParameter("model", OpenApiTypes.STR, description="This model, in any spelling."),
    OpenApiParameter("search", OpenApiTypes.STR, description="Within the name."),
    OpenApiParameter("node", OpenApiTypes.STR, description="Only this node: id or name."),
    OpenApiParameter("state", OpenApiTypes.STR, enum=[place.value for place in Place]),
    OpenApiParameter("drift", OpenApiTypes.BOOL, description="Nodes have different versions."),
]


class JobThrottle(UserRateThrottle):
    """Jobs asked for by one user, counted in each process. A person clicks less; a loop that has
    run away is stopped before it fills the history.
    """

    scope = "jobs"
    rate = "60/min"


class MatrixPages(LimitOffset):
    """A page has as many cells as there are nodes for each of its rows."""

    default_limit = 50
    max_limit = 200


class MatrixView(GenericAPIView[Any]):
    """Models x nodes."""

    required_roles: ClassVar = {"GET": Role.VIEWER}
    serializer_class = serializers.RowSerializer
    pagination_class = MatrixPages
    filter_backends = ()

    @extend_schema(
        operation_id="models_list",
        parameters=MATRIX_PARAMETERS,
        responses=serializers.RowSerializer(many=True),
    )
    def get(self, request: Request) -> Response:
        """Where each model is: absent, on disk, loading, loaded, pulling. By canonical name."""
        asked = MatrixFilter.read(request.query_params)
        nodes = asked.nodes(nodes_all(with_models=True).order_by("name"))
        rows = [row for row in rows_now(nodes) if asked.fits(row, len(nodes))]
        page = self.paginate_queryset(rows)
        return self.get_paginated_response([row_public(row, nodes) for row in page or ()])


class WarmView(GenericAPIView[Any]):
    """Models that are kept in memory."""

    required_roles: ClassVar = {"GET": Role.VIEWER}
    serializer_class = serializers.WarmSerializer
    pagination_class = MatrixPages
    filter_backends = ()

    @extend_schema(operation_id="models_warm", responses=serializers.WarmSerializer(many=True))
    def get(self, request: Request) -> Response:
        """What is warm, what is wished for, and why a node does not load it. By canonical name."""
        unknown_parameters_refuse(request, {"limit", "offset"})
        page = self.paginate_queryset(wishes_judged())
        return self.get_paginated_response([warm_public(wish) for wish in page or ()])


class _ActView(GenericAPIView[Job]):
    """Ask for one kind of job. The subclasses say which, and what it takes."""

    required_roles: ClassVar = {"POST": Role.OPERATOR}
    queryset = Job.objects.none()
    throttle_classes = (JobThrottle,)
    kind: ClassVar[Kind]

    def post(self, request: Request) -> Response:
        """Check what is asked for, write it down, and answer before it is done."""
        serializer = self.get_serializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        values: dict[str, Any] = serializer.validated_data
        job = services.job_create(self.kind, values, _actor(request), request)
        response = _answer(job, request, status.HTTP_202_ACCEPTED)
        response["Location"] = f"/api/proxy/jobs/{job.pk}"
        return response


def _accepted(operation_id: str) -> Any:
    return extend_schema(
        operation_id=operation_id, responses={202: serializers.JobDetailSerializer}
    )


class PullView(_ActView):
    """Pull."""

    serializer_class = serializers.PullSerializer
    kind = Kind.PULL

    @_accepted("models_pull")
    def post(self, request: Request) -> Response:
        """Download a model to nodes. A job: follow it at its Location."""
        return super().post(request)


class DeleteView(_ActView):
    """Delete."""

    serializer_class = serializers.ActSerializer
    kind = Kind.DELETE

    @_accepted("models_delete")
    def post(self, request: Request) -> Response:
        """Delete a model from the disks of nodes."""
        return super().post(request)


class CopyView(_ActView):
    """Copy."""

    serializer_class = serializers.CopySerializer
    kind = Kind.COPY

    @_accepted("models_copy")
    def post(self, request: Request) -> Response:
        """Give a model a second name on the nodes that have it."""
        return super().post(request)


class LoadView(_ActView):
    """Load."""

    serializer_class = serializers.LoadSerializer
    kind = Kind.LOAD

    @_accepted("models_load")
    def post(self, request: Request) -> Response:
        """Bring a model into the memory of nodes."""
        return super().post(request)


class UnloadView(_ActView):
    """Unload."""

    serializer_class = serializers.ActSerializer
    kind = Kind.UNLOAD

    @_accepted("models_unload")
    def post(self, request: Request) -> Response:
        """Drop a model from the memory of nodes once their requests with it are done."""
        return super().post(request)


class JobsView(ListAPIView[Job]):
    """All jobs, open and over."""

    required_roles: ClassVar = {"GET": Role.VIEWER}
    serializer_class = serializers.JobSerializer
    queryset = jobs_all()
    filterset_class = JobFilter
    search_fields: ClassVar = ["model", "destination"]
    ordering_fields: ClassVar = ["created_at", "finished_at", "kind", "model", "state"]


class JobView(GenericAPIView[Job]):
    """One job."""

    required_roles: ClassVar = {"GET": Role.VIEWER}
    serializer_class = serializers.JobDetailSerializer
    queryset = jobs_all()

    @extend_schema(operation_id="jobs_retrieve")
    def get(self, request: Request, pk: uuid.UUID) -> Response:  # noqa: ARG002 - GenericAPIView's
        """One job with its part at each node. Written once a second while it runs."""
        return Response(self.get_serializer(self.get_object()).data)


class JobCancelView(GenericAPIView[Job]):
    """Cancel."""

    required_roles: ClassVar = {"POST": Role.OPERATOR}
    serializer_class = serializers.JobDetailSerializer
    queryset = Job.objects.none()

    @extend_schema(operation_id="jobs_cancel", request=None)
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Stop a job. Nodes that are done stay done; what was downloaded is kept for a retry."""
        try:
            job = services.job_cancel(pk, _actor(request), request)
        except Job.DoesNotExist as error:
            raise Http404 from error
        return _answer(job, request, status.HTTP_200_OK)


class JobRetryView(GenericAPIView[Job]):
    """Retry."""

    required_roles: ClassVar = {"POST": Role.OPERATOR}
    serializer_class = serializers.JobDetailSerializer
    queryset = Job.objects.none()
    throttle_classes = (JobThrottle,)

    @extend_schema(operation_id="jobs_retry", request=None)
    def post(self, request: Request, pk: uuid.UUID) -> Response:
        """Do again what failed or was cancelled, at those nodes only."""
        try:
            job = services.job_retry(pk, _actor(request), request)
        except Job.DoesNotExist as error:
            raise Http404 from error
        return _answer(job, request, status.HTTP_200_OK)


def _actor(request: Request) -> User:
    return cast("User", request.user)  # nobody else has a role


def _answer(job: Job, request: Request, status_code: int) -> Response:
    """The job as it now stands in the database."""
    found = jobs_all().get(pk=job.pk)
    data = serializers.JobDetailSerializer(found, context={"request": request}).data
    return Response(data, status=status_code)
