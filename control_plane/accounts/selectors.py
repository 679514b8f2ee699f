"""Reads of accounts."""

from __future__ import annotations

from control_plane.accounts.models import ApiKey
from shared import snapshot


def keys_for_snapshot() -> list[snapshot.ApiKey]:
    """Every API key as the data planes need it. Disabled and expired ones too: that a key exists
    at all is what closes the proxy to callers without one.
    """
    return [
        snapshot.ApiKey(
            id=key.id,
            sha256=key.sha256,
            enabled=key.enabled,
            expires_at=key.expires_at.timestamp() if key.expires_at else None,
            allowed_models=None if key.allowed_models is None else tuple(key.allowed_models),
            scopes=tuple(snapshot.Scope(scope) for scope in key.scopes),
            max_active=key.max_active,
            requests_per_minute=key.requests_per_minute,
            priority=key.priority,
        )
        for key in ApiKey.objects.order_by("id")
    ]
