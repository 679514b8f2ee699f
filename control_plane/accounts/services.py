"""Writes of accounts: audit records, users, API keys. Signing in and out is in `sessions`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from control_plane.accounts import chain
from control_plane.accounts.errors import LastAdminError, NameTakenError, WeakPasswordError
from control_plane.accounts.models import ApiKey, AuditRecord, User
from control_plane.accounts.tokens import tokens_kill
from control_plane.common.requests import client_ip, current_request_id
from control_plane.common.roles import Role
from control_plane.revisions.services import revision_bump
from shared.credentials import mint

if TYPE_CHECKING:
    import uuid
    from collections.abc import Mapping

    from django.http import HttpRequest
    from rest_framework.request import Request

MASK: Final = "***"
_SECRET_WORDS: Final = ("password", "token", "secret", "sha256", "passwd")
_KEY_FIELDS: Final = (
    "name",
    "enabled",
    "expires_at",
    "allowed_models",
    "scopes",
    "max_active",
    "requests_per_minute",
    "priority",
)


def audit_record(  # noqa: PLR0913, PLR0917 - the columns of one record
    actor: User | str,
    action: str,
    target: str = "",
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    request: HttpRequest | Request | None = None,
) -> None:
    """Append to the audit log, within the transaction of what it tells of. Secrets are masked.

    The last lock to be taken: whoever bumps the revision does so before.
    """
    record = AuditRecord(
        actor=actor if isinstance(actor, str) else actor.username,
        actor_id=None if isinstance(actor, str) else actor.pk,
        ip="" if request is None else client_ip(getattr(request, "_request", request)),
        request_id=current_request_id(),
        action=action,
        target=target[:128],
        before=_masked(before),
        after=_masked(after),
    )
    with transaction.atomic():
        chain.append(record)


def _masked(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {
        name: MASK if value and any(word in name.lower() for word in _SECRET_WORDS) else value
        for name, value in values.items()
    }


def password_judge(user: User, password: str, field: str = "password") -> None:
    """Refuse a password that is easily guessed. Raises WeakPasswordError."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise WeakPasswordError(field, list(error.messages)) from error


def user_create(
    username: str, password: str, role: str, actor: User | str, request: Request | None = None
) -> User:
    """Make a user."""
    user = User(username=username, role=role)
    password_judge(user, password)
    user.set_password(password)
    try:
        with transaction.atomic():
            user.save(force_insert=True)
            audit_record(actor, "user.create", _of(user), None, user_public(user), request)
    except IntegrityError as error:
        raise NameTakenError("username") from error
    return user


def user_update(
    user_id: uuid.UUID, values: Mapping[str, Any], actor: User, request: Request | None = None
) -> User:
    """Change role, state or password. Whoever is disabled or gets a new password is signed out."""
    hashed = _hashed(user_id, values)
    with transaction.atomic():
        admins = _admins_locked()
        user = User.objects.select_for_update().get(pk=user_id)
        before = user_public(user)
        user.role = values.get("role", user.role)
        user.is_active = values.get("is_active", user.is_active)
        user.password = hashed or user.password
        if not (user.role == Role.ADMIN and user.is_active):
            _refuse_without_admin(admins, user)
        after = user_public(user) | ({"password": hashed} if hashed else {})
        if after == before:
            return user
        user.save(update_fields=["role", "is_active", "password"])
        if hashed or (before["is_active"] and not user.is_active):
            tokens_kill(user.pk)
        audit_record(actor, "user.update", _of(user), before, after, request)
    return user


def _hashed(user_id: uuid.UUID, values: Mapping[str, Any]) -> str:
    """The hash of the new password, "" without one: made before any row is locked."""
    if "password" not in values:
        return ""
    user = User.objects.get(pk=user_id)
    password_judge(user, values["password"])
    user.set_password(values["password"])
    return user.password


def user_delete(user_id: uuid.UUID, actor: User, request: Request | None = None) -> None:
    """Remove a user. What they did stays in the audit log under their name."""
    with transaction.atomic():
        admins = _admins_locked()
        user = User.objects.select_for_update().get(pk=user_id)
        _refuse_without_admin(admins, user)
        before = user_public(user)
        target = _of(user)
        user.delete()
        audit_record(actor, "user.delete", target, before, None, request)


def user_password_set(user: User, password: str, request: Request | None = None) -> None:
    """Set one's own password, having proved the current one. Every token dies."""
    password_judge(user, password)
    user.set_password(password)
    with transaction.atomic():
        User.objects.filter(pk=user.pk).update(password=user.password)
        tokens_kill(user.pk)
        audit_record(user, "user.password_set", _of(user), request=request)


def user_public(user: User) -> dict[str, Any]:
    """What the audit log holds of a user."""
    return {"username": user.username, "role": user.role, "is_active": user.is_active}


def _of(user: User) -> str:
    return f"user:{user.username}"


def _admins_locked() -> list[User]:
    """The active admins, locked, so that two of them cannot remove each other at once."""
    admins = User.objects.select_for_update().filter(role=Role.ADMIN.value, is_active=True)
    return list(admins.order_by("pk"))


def _refuse_without_admin(admins: list[User], leaving: User) -> None:
    if [admin.pk for admin in admins] == [leaving.pk]:
        raise LastAdminError


def key_create(
    values: Mapping[str, Any], actor: User, request: Request | None = None
) -> tuple[ApiKey, str]:
    """Make a key. Its text is in the second value and nowhere else."""
    minted = mint()
    key = ApiKey(id=minted.id, sha256=minted.sha256, last4=minted.last4, created_by=actor, **values)
    with transaction.atomic():
        _key_save(key, force_insert=True)
        revision_bump()
        audit_record(actor, "key.create", f"key:{key.pk}", None, key_public(key), request)
    return key, minted.text


def key_update(
    key_id: str, values: Mapping[str, Any], actor: User, request: Request | None = None
) -> ApiKey:
    """Change what a key may do. The secret cannot be changed: make another key."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key_id)
        before = key_public(key)
        for field in _KEY_FIELDS:
            if field in values:
                setattr(key, field, values[field])
        after = key_public(key)
        if after == before:
            return key
        _key_save(key)
        revision_bump()
        audit_record(actor, "key.update", f"key:{key.pk}", before, after, request)
    return key


def key_delete(key_id: str, actor: User, request: Request | None = None) -> None:
    """Revoke a key for good."""
    with transaction.atomic():
        key = ApiKey.objects.select_for_update().get(pk=key_id)
        before = key_public(key)
        key.delete()
        revision_bump()
        audit_record(actor, "key.delete", f"key:{key_id}", before, None, request)


def key_public(key: ApiKey) -> dict[str, Any]:
    """What the audit log holds of a key."""
    return {
        "name": key.name,
        "enabled": key.enabled,
        "expires_at": key.expires_at.isoformat() if key.expires_at else None,
        "allowed_models": key.allowed_models,
        "scopes": key.scopes,
        "max_active": key.max_active,
        "requests_per_minute": key.requests_per_minute,
        "priority": key.priority,
    }


def _key_save(key: ApiKey, *, force_insert: bool = False) -> None:
    try:
        with transaction.atomic():  # a savepoint: PostgreSQL refuses queries after a failed one
            key.save(force_insert=force_insert)
    except IntegrityError as error:
        raise NameTakenError("name") from error
