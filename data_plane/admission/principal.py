"""The principal of a request: what whoever asks may do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from shared.snapshot import ApiKey


class Principal(msgspec.Struct, frozen=True):
    """Whom the credential proves."""

    key_id: str
    allowed_models: tuple[str, ...] | None
    """Which it may ask. Canonical names or globs over them; None: every model."""

    manageable: tuple[str, ...] | None = None
    """Of which models nodes may be told to change what they hold; the same way, () for none."""

    is_lasting: bool = True
    """Whether the same credential proves the same for as long as the snapshot is in force."""

    limits: ApiKey | None = None
    """The key, if its use is limited; see `limits`."""

    priority: int = 0
    """Of requests that wait for a slot the higher goes first."""

    @property
    def visible(self) -> tuple[str, ...] | None:
        """Which models it may see listed: those that it may ask or manage."""
        return self.manageable if self.allowed_models == () else self.allowed_models


ANYONE: Final = Principal("", None)
