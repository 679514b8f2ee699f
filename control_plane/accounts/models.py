"""Operators, API keys, failed logins and the audit log."""

from __future__ import annotations

import uuid
from typing import Any, ClassVar, Final

from django.contrib.auth.base_user import AbstractBaseUser, BaseUserManager
from django.contrib.auth.validators import ASCIIUsernameValidator
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils import timezone

from control_plane.common.roles import Role
from shared.snapshot import Scope

ROLES: Final = tuple((role.value, role.value) for role in Role)
SCOPES: Final = tuple((scope.value, scope.value) for scope in Scope)

THE_HEAD: Final = 1

MOST_REQUESTS: Final = 1_000_000
MOST_URGENT: Final = 9


def inference_only() -> list[str]:
    """What a key is for unless somebody says more."""
    return [Scope.INFERENCE.value]


class UserManager(BaseUserManager["User"]):
    """What Django's authentication asks of a user model."""

    def create_user(self, username: str, password: str, role: Role = Role.VIEWER) -> User:
        """Make a user; the password is hashed."""
        user = self.model(username=username, role=role.value)
        user.set_password(password)
        user.save(using=self._db)
        return user


class User(AbstractBaseUser):
    """An operator."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    username = models.CharField(max_length=64, unique=True, validators=[ASCIIUsernameValidator()])
    role = models.CharField(max_length=16, choices=ROLES, default=Role.VIEWER.value)
    is_active = models.BooleanField(default=True)
    token_generation = models.PositiveIntegerField(
        default=0, editable=False, help_text="Tokens of an earlier generation are dead."
    )
    created_at = models.DateTimeField(auto_now_add=True)

    objects: ClassVar[UserManager] = UserManager()

    USERNAME_FIELD = "username"
    REQUIRED_FIELDS: ClassVar[list[str]] = []

    class Meta:
        """Lists are by name."""

        ordering: ClassVar = ["username"]

    def __str__(self) -> str:
        """Name them."""
        return self.username


class ApiKey(models.Model):
    """A client's credential. The secret itself is shown once and kept nowhere."""

    id = models.CharField(primary_key=True, max_length=12, editable=False)
    name = models.CharField(max_length=64, unique=True)
    sha256 = models.CharField(max_length=64, editable=False)
    last4 = models.CharField(max_length=4, editable=False)
    enabled = models.BooleanField(default=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    allowed_models = models.JSONField(
        null=True, blank=True, help_text="Model names, globs allowed; null: every model."
    )
    scopes = models.JSONField(default=inference_only, help_text="inference, manage, or both.")
    max_active = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_REQUESTS)],
        help_text="Requests at once at each data plane; null: no limit.",
    )
    requests_per_minute = models.PositiveIntegerField(
        null=True,
        blank=True,
        validators=[MinValueValidator(1), MaxValueValidator(MOST_REQUESTS)],
        help_text="Requests per minute at each data plane; null: no limit.",
    )
    priority = models.SmallIntegerField(
        default=0,
        validators=[MinValueValidator(-MOST_URGENT), MaxValueValidator(MOST_URGENT)],
        help_text="From -9 to 9: of requests that wait for a slot the higher goes first.",
    )
    created_by = models.ForeignKey(User, null=True, on_delete=models.SET_NULL, editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        """Lists are by name."""

        verbose_name = "API key"
        ordering: ClassVar = ["name"]

    def __str__(self) -> str:
        """Name it."""
        return self.name


class FailedLogin(models.Model):
    """Wrong passwords in a row for one name from one address."""

    username = models.CharField(max_length=64)
    ip = models.CharField(max_length=45)
    failures = models.PositiveIntegerField(default=0)
    last_failed_at = models.DateTimeField()

    class Meta:
        """One row for each pair."""

        constraints: ClassVar = [
            models.UniqueConstraint(fields=["username", "ip"], name="accounts_failed_login_pair")
        ]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.username} from {self.ip}"


class AuditRecord(models.Model):
    """Who did what. Append-only: triggers in the database refuse changes and deletions. Chained:
    see `chain`.
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(default=timezone.now, editable=False, db_index=True)
    actor = models.CharField(max_length=64, help_text="User name, or the part of the system.")
    actor_id = models.UUIDField(null=True)
    ip = models.CharField(max_length=45, blank=True)
    request_id = models.CharField(max_length=128, blank=True)
    action = models.CharField(max_length=64, db_index=True)
    target = models.CharField(max_length=128, blank=True, db_index=True)
    before = models.JSONField(null=True)
    after = models.JSONField(null=True)
    link = models.CharField(max_length=64, default="", editable=False)

    class Meta:
        """The newest first."""

        ordering: ClassVar = ["-id"]

    def __str__(self) -> str:
        """Name it."""
        return f"{self.actor} {self.action} {self.target}"

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Append; a record that exists cannot be saved again."""
        kwargs["force_insert"] = True
        super().save(*args, **kwargs)


class AuditHead(models.Model):
    """Where the chain of the audit log ends. One row."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_HEAD)
    records = models.PositiveBigIntegerField(default=0)
    link = models.CharField(max_length=64, default="")
    seal = models.CharField(max_length=64, default="")

    class Meta:
        """There is one row."""

        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id=THE_HEAD), name="accounts_one_audit_head")
        ]

    def __str__(self) -> str:
        """How long it is."""
        return f"{self.records} records"
