"""API keys for inference: their text, and the only form in which we keep them.

Text: `olp_<id>_<secret>_<check>`, all base62. `id` (12) finds the key without a search and may be
shown; `secret` (43, 256 bits) proves it; `check` (6, CRC-32) rejects a typo without a look-up; the
prefix lets secret scanners find a leaked key. What is stored is SHA-256 of the secret: slow hashes
are for passwords, whose entropy is low.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final

PREFIX: Final = "olp"
ID_LENGTH: Final = 12
SECRET_LENGTH: Final = 43
CHECK_LENGTH: Final = 6
MAX_TEXT_LENGTH: Final = 128
"""Longer texts are refused unread, so that a megabyte of credential costs nothing."""

_ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_PATTERN: Final = re.compile(
    rf"{PREFIX}_([0-9A-Za-z]{{{ID_LENGTH}}})_([0-9A-Za-z]{{{SECRET_LENGTH}}})"
    rf"_([0-9A-Za-z]{{{CHECK_LENGTH}}})"
)


@dataclass(frozen=True, slots=True)
class MintedKey:
    """A new key. `text` is shown once and never kept."""

    id: str
    text: str
    sha256: str

    @property
    def last4(self) -> str:
        """The end of the secret, by which its owner recognises the key in a list."""
        return self.text.rsplit("_", 2)[1][-4:]


@dataclass(frozen=True, slots=True)
class ParsedKey:
    """What a well-formed key text says; whether it is known is the caller's question."""

    id: str
    sha256: str


def mint() -> MintedKey:
    """Make a new key from the system's randomness."""
    key_id = _random(ID_LENGTH)
    secret = _random(SECRET_LENGTH)
    return MintedKey(key_id, f"{PREFIX}_{key_id}_{secret}_{_check(key_id, secret)}", _hash(secret))


def parse_key(text: str) -> ParsedKey | None:
    """Read a key text; None when it is not one (wrong shape or check digits)."""
    if len(text) > MAX_TEXT_LENGTH:
        return None
    match = _PATTERN.fullmatch(text)
    if match is None or match[3] != _check(match[1], match[2]):
        return None
    return ParsedKey(match[1], _hash(match[2]))


def same_hash(left: str, right: str) -> bool:
    """Compare two hashes in constant time."""
    return hmac.compare_digest(left.encode(), right.encode())


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def _check(key_id: str, secret: str) -> str:
    rest = zlib.crc32(f"{key_id}_{secret}".encode())
    digits = []
    for _ in range(CHECK_LENGTH):
        rest, digit = divmod(rest, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
