"""Accounts as JSON."""

from __future__ import annotations

from typing import Any, ClassVar, Final

from django.utils import timezone
from rest_framework import serializers

from control_plane.accounts.models import ROLES, SCOPES, ApiKey, AuditRecord, User
from control_plane.accounts.patterns import MAX_PATTERNS, canonical_pattern
from control_plane.common.fields import (
    NamedChoiceField,
    ShortListField,
    SparseFieldsMixin,
    StrictFieldsMixin,
)
from control_plane.common.roles import Role
from shared.credentials import PREFIX
from shared.model_names import MAX_LENGTH, InvalidModelNameError

MAX_USERNAME_LENGTH: Final = 64
MAX_PASSWORD_LENGTH: Final = 1_024
MAX_TOKEN_LENGTH: Final = 4_096
_ALIASES: Final = {"account": "username", "passwd": "password"}


class PasswordField(serializers.CharField):
    """Taken as it is, blanks and all, and never given back."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs = {"max_length": MAX_PASSWORD_LENGTH, "trim_whitespace": False} | kwargs
        super().__init__(write_only=True, style={"input_type": "password"}, **kwargs)


class UserSerializer(SparseFieldsMixin, serializers.ModelSerializer[User]):
    """A user as others see them."""

    class Meta:
        """No password in any form."""

        model = User
        fields: ClassVar = ["id", "username", "role", "is_active", "created_at", "last_login"]
        read_only_fields = fields


class UserCreateSerializer(StrictFieldsMixin, serializers.ModelSerializer[User]):
    """A new user."""

    # The answer to a name that is taken is 409, given by the service under the constraint.
    username = serializers.CharField(
        max_length=MAX_USERNAME_LENGTH,
        validators=User.username.field.validators,
    )
    role = NamedChoiceField(choices=ROLES, default=Role.VIEWER.value)
    password = PasswordField()

    class Meta:
        """What an admin decides."""

        model = User
        fields: ClassVar = ["username", "role", "password"]


class UserEditSerializer(StrictFieldsMixin, serializers.Serializer[User]):
    """What an admin may change of a user. `password` sets a new one and ends their sessions."""

    role = NamedChoiceField(choices=ROLES, required=False)
    is_active = serializers.BooleanField(required=False)
    password = PasswordField(required=False)


class MeEditSerializer(StrictFieldsMixin, serializers.Serializer[User]):
    """A new password of one's own."""

    current_password = PasswordField()
    password = PasswordField()


class LoginSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    """Name and password; `account` and `passwd` are other spellings of the same."""

    username = serializers.CharField(max_length=MAX_USERNAME_LENGTH, write_only=True)
    password = PasswordField()

    def to_internal_value(self, data: Any) -> Any:
        """Take the spellings of the system that this one replaces."""
        if isinstance(data, dict):
            data = {_other(name, data): value for name, value in data.items()}
        return super().to_internal_value(data)


def _other(name: Any, data: dict[Any, Any]) -> Any:
    """The name in use. Both spellings at once stay as they are, and are refused as unknown."""
    wanted = _ALIASES.get(name, name)
    return name if wanted in data else wanted


class RefreshSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    """A refresh token."""

    refresh = serializers.CharField(max_length=MAX_TOKEN_LENGTH, write_only=True)


class PairSerializer(serializers.Serializer[Any]):
    """A new pair of tokens."""

    access = serializers.CharField(read_only=True, help_text="Good for some minutes.")
    refresh = serializers.CharField(read_only=True, help_text="Good for one refresh.")
    user = UserSerializer(read_only=True)


class AllowedModelsField(ShortListField):
    """Names and globs, brought into the form that is compared. null: every model."""

    child = serializers.CharField(max_length=MAX_LENGTH)

    def to_internal_value(self, data: Any) -> list[str]:
        """Refuse what could never fit a model's name."""
        patterns: list[str] = []
        for text in super().to_internal_value(data):
            try:
                pattern = canonical_pattern(text)
            except InvalidModelNameError as error:
                msg = f"{text[:64]!r} is neither a model name nor a glob such as qwen3:*."
                raise serializers.ValidationError(msg, "invalid_model") from error
            if pattern not in patterns:
                patterns.append(pattern)
        return patterns


class ScopesField(ShortListField):
    """What a key is for: each scope once, in the order of `Scope`."""

    child = NamedChoiceField(choices=SCOPES)

    def to_internal_value(self, data: Any) -> list[str]:
        """Bring them into one form, so that an edit of nothing is seen as one."""
        asked = super().to_internal_value(data)
        return [scope for scope, _ in SCOPES if scope in asked]


class ApiKeySerializer(SparseFieldsMixin, serializers.ModelSerializer[ApiKey]):
    """A key as it is shown: enough to recognise it, nothing to use it."""

    prefix = serializers.SerializerMethodField(help_text="How the key's text begins.")
    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)
    allowed_models = serializers.ListField(
        child=serializers.CharField(), read_only=True, allow_null=True
    )
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=SCOPES), read_only=True)

    class Meta:
        """No hash either."""

        model = ApiKey
        fields: ClassVar = [
            "id",
            "name",
            "prefix",
            "last4",
            "enabled",
            "expires_at",
            "allowed_models",
            "scopes",
            "max_active",
            "requests_per_minute",
            "priority",
            "created_by",
            "created_at",
        ]
        read_only_fields = fields

    def get_prefix(self, key: ApiKey) -> str:
        """As secret scanners know it."""
        return f"{PREFIX}_{key.id}"


class ApiKeyMintedSerializer(ApiKeySerializer):
    """A new key together with its text, which is shown this once."""

    key = serializers.CharField(read_only=True, help_text="Shown now and never again.")

    class Meta(ApiKeySerializer.Meta):
        """With the text at the end."""

        fields: ClassVar = [*ApiKeySerializer.Meta.fields, "key"]
        read_only_fields = fields


class ApiKeyWriteSerializer(StrictFieldsMixin, serializers.ModelSerializer[ApiKey]):
    """What an operator decides about a key."""

    name = serializers.CharField(max_length=64)
    expires_at = serializers.DateTimeField(required=False, allow_null=True)
    allowed_models = AllowedModelsField(
        required=False,
        allow_null=True,
        max_length=MAX_PATTERNS,
        help_text="Model names or globs such as qwen3:*; null: every model; empty: none.",
    )
    scopes = ScopesField(
        required=False,
        allow_empty=False,
        max_length=len(SCOPES),
        help_text="inference (the default), manage (pull, delete, copy … on the nodes), or both.",
    )

    class Meta:
        """The rest is made by us."""

        model = ApiKey
        fields: ClassVar = [
            "name",
            "enabled",
            "expires_at",
            "allowed_models",
            "scopes",
            "max_active",
            "requests_per_minute",
            "priority",
        ]

    def validate_expires_at(self, value: Any) -> Any:
        """A key that is dead at birth is a mistake."""
        if value is not None and value <= timezone.now():
            msg = "This must be in the future. To end a key now, disable or delete it."
            raise serializers.ValidationError(msg)
        return value


class AuditRecordSerializer(SparseFieldsMixin, serializers.ModelSerializer[AuditRecord]):
    """One line of the audit log."""

    class Meta:
        """Everything there is; secrets were masked on the way in."""

        model = AuditRecord
        fields: ClassVar = [
            "id",
            "at",
            "actor",
            "actor_id",
            "ip",
            "request_id",
            "action",
            "target",
            "before",
            "after",
        ]
        read_only_fields = fields
