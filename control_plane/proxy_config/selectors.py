"""Reads of the proxy config."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from control_plane.proxy_config.models import ROW, ProxyConfig
from shared import snapshot
from shared.model_names import canonical_name

FIELDS: Final = tuple(field.name for field in msgspec.structs.fields(snapshot.ProxyConfig))
"""What the row and the snapshot have in common: everything that the data planes go by."""

OWN_FIELDS: Final = ("warm_models",)
"""What this plane alone goes by."""


def proxy_config_row() -> ProxyConfig:
    """The row; an unsaved one with the defaults while no operator has changed anything."""
    return ProxyConfig.objects.filter(pk=ROW).first() or ProxyConfig()


def proxy_config_current() -> snapshot.ProxyConfig:
    """The proxy config as the data planes get it."""
    return proxy_config_of(proxy_config_row())


def proxy_config_of(row: ProxyConfig) -> snapshot.ProxyConfig:
    """A row as the data planes get it."""
    values = {name: getattr(row, name) for name in FIELDS}
    return msgspec.convert(values, snapshot.ProxyConfig)


def proxy_config_defaults() -> dict[str, Any]:
    """Every value as it is shipped."""
    shipped = ProxyConfig()
    own = {name: getattr(shipped, name) for name in OWN_FIELDS}
    return msgspec.structs.asdict(snapshot.ProxyConfig()) | own


def warm_models_current() -> dict[str, int]:
    """Canonical name -> how many nodes shall hold it in memory."""
    return {canonical_name(name): copies for name, copies in proxy_config_row().warm_models.items()}
