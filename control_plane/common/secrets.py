"""Sealing what must be kept but not read: Fernet, with a list of keys for rotation."""

from __future__ import annotations

from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings


class UnsealError(Exception):
    """The text was sealed with a key that is no longer in AIVONX_NODE_TOKEN_KEYS."""


@lru_cache(maxsize=4)
def _fernet(keys: tuple[str, ...]) -> MultiFernet:
    return MultiFernet([Fernet(key) for key in keys])


def seal(text: str) -> str:
    """Seal with the newest key."""
    return _fernet(settings.NODE_TOKEN_KEYS).encrypt(text.encode()).decode()


def unseal(sealed: str) -> str:
    """Open with whichever key fits. Raises UnsealError."""
    try:
        return _fernet(settings.NODE_TOKEN_KEYS).decrypt(sealed.encode()).decode()
    except InvalidToken as error:
        raise UnsealError("sealed with a key that is not in AIVONX_NODE_TOKEN_KEYS") from error
