"""What operators may do: three roles, each including the ones below it."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Role(StrEnum):
    """An operator's role."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, other: Role) -> bool:
        """Whether whoever has this role may do what `other` may."""
        return _RANK[self] >= _RANK[other]


_RANK: Final = {Role.VIEWER: 1, Role.OPERATOR: 2, Role.ADMIN: 3}

PUBLIC: Final = None
"""In `required_roles`: no sign-in needed."""
