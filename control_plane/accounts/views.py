"""/api/account and /api/audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, cast

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.generics import GenericAPIView, ListAPIView
from rest_framework.response import Response

from control_plane.accounts import serializers, services, sessions, tokens
from control_plane.accounts.filters import AuditFilter, KeyFilter, UserFilter
from control_plane.accounts.models import ApiKey, AuditRecord, User
from control_plane.common.roles import PUBLIC, Role

if TYPE_CHECKING:
    import uuid

    from rest_framework.request import Request
    from rest_framework.serializers import BaseSerializer


def _values(serializer: BaseSerializer[Any]) -> dict[str, Any]:
    serializer.is_valid(raise_exception=True)
    values: dict[str, Any] = serializer.validated_data
    return values


def _actor(request: Request) -> User:
    return cast("User", request.user)  # nobody else has a role


class _OpenView(GenericAPIView[Any]):
    """For whoever is not signed in yet: an old token in the header is no reason to refuse."""

    required_roles: ClassVar = {"POST": PUBLIC}
    authentication_classes = ()


class LoginView(_OpenView):
    """Sign in."""

    serializer_class = serializers.LoginSerializer

    @extend_schema(operation_id="account_login", responses=serializers.PairSerializer)
    def post(self, request: Request) -> Response:
        """Take a name and a password for a pair of tokens."""
        values = _values(self.get_serializer(data=request.data))
        pair, user = sessions.session_open(values["username"], values["password"], request)
        return _pair(pair, user)


class RefreshView(_OpenView):
    """Stay signed in."""

    serializer_class = serializers.RefreshSerializer

    @extend_schema(operation_id="account_refresh", responses=serializers.PairSerializer)
    def post(self, request: Request) -> Response:
        """Take a refresh token for a new pair. A token that comes twice ends every session."""
        values = _values(self.get_serializer(data=request.data))
        return _pair(*tokens.pair_rotate(values["refresh"]))


class LogoutView(_OpenView):
    """Sign out."""

    serializer_class = serializers.RefreshSerializer

    @extend_schema(operation_id="account_logout", responses={204: None})
    def post(self, request: Request) -> Response:
        """Give the refresh token back; it is good for nothing afterwards."""
        values = _values(self.get_serializer(data=request.data))
        sessions.session_close(values["refresh"], request)
        return Response(status=status.HTTP_204_NO_CONTENT)


class MeView(GenericAPIView[User]):
    """Oneself."""

    required_roles: ClassVar = {"GET": Role.VIEWER, "PATCH": Role.VIEWER}
    serializer_class = serializers.UserSerializer

    @extend_schema(operation_id="account_me")
    def get(self, request: Request) -> Response:
        """Who is signed in."""
        return Response(self.get_serializer(request.user).data)

    @extend_schema(
        operation_id="account_me_password",
        request=serializers.MeEditSerializer,
        responses=serializers.UserSerializer,
    )
    def patch(self, request: Request) -> Response:
        """Set a new password. Every token dies: sign in again."""
        values = _values(serializers.MeEditSerializer(data=request.data))
        sessions.password_change(
            _actor(request), values["current_password"], values["password"], request
        )
        return Response(self.get_serializer(request.user).data)


class UsersView(ListAPIView[User]):
    """All users."""

    required_roles: ClassVar = {"GET": Role.ADMIN, "POST": Role.ADMIN}
    serializer_class = serializers.UserSerializer
    queryset = User.objects.all()
    filterset_class = UserFilter
    search_fields: ClassVar = ["username"]
    ordering_fields: ClassVar = ["username", "role", "created_at", "last_login"]

    @extend_schema(
        operation_id="users_create",
        request=serializers.UserCreateSerializer,
        responses={201: serializers.UserSerializer},
    )
    def post(self, request: Request) -> Response:
        """Make a user."""
        values = _values(serializers.UserCreateSerializer(data=request.data))
        user = services.user_create(**values, actor=_actor(request), request=request)
        return Response(self.get_serializer(user).data, status=status.HTTP_201_CREATED)


class UserView(GenericAPIView[User]):
    """One user."""

    required_roles: ClassVar = {"GET": Role.ADMIN, "PATCH": Role.ADMIN, "DELETE": Role.ADMIN}
    serializer_class = serializers.UserSerializer
    queryset = User.objects.all()

    @extend_schema(operation_id="users_retrieve")
    def get(self, request: Request, pk: uuid.UUID) -> Response:  # noqa: ARG002 - GenericAPIView's
        """One user."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        operation_id="users_partial_update",
        request=serializers.UserEditSerializer,
        responses=serializers.UserSerializer,
    )
    def patch(self, request: Request, pk: uuid.UUID) -> Response:
        """Change a role, disable, or set a new password. The last two end their sessions."""
        self.get_object()
        values = _values(serializers.UserEditSerializer(data=request.data))
        try:
            user = services.user_update(pk, values, _actor(request), request)
        except User.DoesNotExist as error:
            raise Http404 from error
        return Response(self.get_serializer(user).data)

    @extend_schema(operation_id="users_destroy", responses={204: None})
    def delete(self, request: Request, pk: uuid.UUID) -> Response:
        """Remove a user."""
        try:
            services.user_delete(pk, _actor(request), request)
        except User.DoesNotExist as error:
            raise Http404 from error
        return Response(status=status.HTTP_204_NO_CONTENT)


class KeysView(ListAPIView[ApiKey]):
    """All API keys."""

    required_roles: ClassVar = {"GET": Role.VIEWER, "POST": Role.OPERATOR}
    serializer_class = serializers.ApiKeySerializer
    queryset = ApiKey.objects.select_related("created_by")
    filterset_class = KeyFilter
    search_fields: ClassVar = ["name", "last4"]
    ordering_fields: ClassVar = ["name", "created_at", "expires_at"]

    @extend_schema(
        operation_id="keys_create",
        request=serializers.ApiKeyWriteSerializer,
        responses={201: serializers.ApiKeyMintedSerializer},
    )
    def post(self, request: Request) -> Response:
        """Make a key for clients. The answer holds its text, this once."""
        values = _values(serializers.ApiKeyWriteSerializer(data=request.data))
        key, text = services.key_create(values, _actor(request), request)
        data = self.get_serializer(key).data
        return Response(data | {"key": text}, status=status.HTTP_201_CREATED)


class KeyView(GenericAPIView[ApiKey]):
    """One API key."""

    required_roles: ClassVar = {
        "GET": Role.VIEWER,
        "PATCH": Role.OPERATOR,
        "DELETE": Role.OPERATOR,
    }
    serializer_class = serializers.ApiKeySerializer
    queryset = ApiKey.objects.select_related("created_by")

    @extend_schema(operation_id="keys_retrieve")
    def get(self, request: Request, pk: str) -> Response:  # noqa: ARG002 - GenericAPIView's
        """One key, without its text."""
        return Response(self.get_serializer(self.get_object()).data)

    @extend_schema(
        operation_id="keys_partial_update",
        request=serializers.ApiKeyWriteSerializer,
        responses=serializers.ApiKeySerializer,
    )
    def patch(self, request: Request, pk: str) -> Response:
        """Change a key. The data planes follow within seconds."""
        serializer = serializers.ApiKeyWriteSerializer(
            self.get_object(), data=request.data, partial=True
        )
        try:
            key = services.key_update(pk, _values(serializer), _actor(request), request)
        except ApiKey.DoesNotExist as error:
            raise Http404 from error
        return Response(self.get_serializer(key).data)

    @extend_schema(operation_id="keys_destroy", responses={204: None})
    def delete(self, request: Request, pk: str) -> Response:
        """Revoke a key for good."""
        try:
            services.key_delete(pk, _actor(request), request)
        except ApiKey.DoesNotExist as error:
            raise Http404 from error
        return Response(status=status.HTTP_204_NO_CONTENT)


class AuditView(ListAPIView[AuditRecord]):
    """The audit log."""

    required_roles: ClassVar = {"GET": Role.ADMIN}
    serializer_class = serializers.AuditRecordSerializer
    queryset = AuditRecord.objects.all()
    filterset_class = AuditFilter
    ordering_fields: ClassVar = ["id", "at", "actor", "action", "target"]


def _pair(pair: tokens.Pair, user: User) -> Response:
    data = {"access": pair.access, "refresh": pair.refresh, "user": user}
    return Response(serializers.PairSerializer(data).data)
