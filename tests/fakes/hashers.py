"""A password hash that counts its work, so that equal effort can be proved without a clock."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.auth.hashers import MD5PasswordHasher


class CountingHasher(MD5PasswordHasher):
    """MD5; `hashed` is how often it was computed."""

    algorithm = "counting"
    hashed: ClassVar[int] = 0

    def encode(self, password: str, salt: str) -> str:
        """Count, then hash."""
        type(self).hashed += 1
        return super().encode(password, salt)
