"""Who is asking: a credential in a request, turned into a principal.

A key is required as soon as one exists, or when others than this machine can connect. Otherwise the
proxy is open, whatever credential a client sends: SDKs always send one. Accepted are
`Authorization: Bearer`, `Authorization: Basic` (the key as password or as user), `x-api-key`, and
the path prefix `/k/<key>/` for clients that can send none of these.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

from data_plane.admission.limits import is_limited
from data_plane.admission.principal import ANYONE, Principal
from data_plane.settings import MAX_BAD_KEYS_PER_MINUTE
from shared.codes import ErrorCode
from shared.credentials import PREFIX, parse_key, same_hash
from shared.snapshot import Scope

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from shared.credentials import ParsedKey
    from shared.snapshot import ApiKey

_QUERY_NAMES: Final = frozenset({"key", "api_key", "apikey", "api-key", "access_token", "token"})
_NO_HASH: Final = "0" * 64
_MAX_ADDRESSES: Final = 10_000
_WINDOW_S: Final = 60.0


class NotIdentifiedError(Exception):
    """The request is refused for its credential."""

    def __init__(self, status: int, code: ErrorCode, retry_after_s: int = 0) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.retry_after_s = retry_after_s


class Given:
    """The credentials in the headers of a request. Read once, for all requests that repeat them."""

    __slots__ = ("_in_headers", "_parsed")

    def __init__(self, authorization: Sequence[str], x_api_key: Sequence[str]) -> None:
        found = {_token(value) for value in authorization} | {value.strip() for value in x_api_key}
        found.discard("")
        self._in_headers = found
        self._parsed: tuple[str, ParsedKey | None] = ("", None)

    def text(self, path_key: str | None) -> str:
        """The one credential of a request. Raises when it carries two that differ."""
        if len(self._in_headers) > 1:
            raise NotIdentifiedError(400, ErrorCode.AMBIGUOUS_CREDENTIALS)
        header_key = next(iter(self._in_headers), "")
        if path_key is None:
            return header_key
        # A client with the key in its base URL may have to send some header as well ("none",
        # "ollama"); that is no second credential unless it looks like one.
        if header_key.startswith(f"{PREFIX}_") and header_key != path_key:
            raise NotIdentifiedError(400, ErrorCode.AMBIGUOUS_CREDENTIALS)
        return path_key

    def parsed(self, text: str) -> ParsedKey | None:
        """What a key text says, its secret hashed; the last one is remembered."""
        if self._parsed[0] != text:
            self._parsed = (text, parse_key(text))
        return self._parsed[1]


class Identifier:
    """Checks credentials, and slows down whoever guesses."""

    def __init__(self, *, is_key_always_required: bool) -> None:
        self._is_always_required = is_key_always_required
        self._bad_keys: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def is_open(self, keys: Mapping[str, ApiKey]) -> bool:
        """Whether anybody who can connect may ask."""
        return not (self._is_always_required or keys)

    def identify(  # noqa: PLR0913 - where credentials may be, and who sends them
        self,
        keys: Mapping[str, ApiKey],
        *,
        authorization: Sequence[str],
        x_api_key: Sequence[str],
        path_key: str | None,
        query: str,
        address: str,
    ) -> Principal:
        """The principal of a request. Raises NotIdentifiedError."""
        given = Given(authorization, x_api_key)
        return self.judge(keys, given, path_key=path_key, query=query, address=address)

    def judge(
        self,
        keys: Mapping[str, ApiKey],
        given: Given,
        *,
        path_key: str | None,
        query: str,
        address: str,
    ) -> Principal:
        """The principal behind what was given, by the keys of this moment."""
        is_required = not self.is_open(keys)
        if query:
            _refuse_key_in_query(query, is_required=is_required)
        if not is_required:
            return ANYONE
        text = given.text(path_key)
        if not text:
            raise NotIdentifiedError(401, ErrorCode.MISSING_API_KEY)
        key = _known(keys, given.parsed(text))
        if key is None:
            raise self._bad_key(address)
        # A key that is not for inference may use no model, whatever else it is for.
        return Principal(
            key.id,
            key.allowed_models if Scope.INFERENCE in key.scopes else (),
            key.allowed_models if Scope.MANAGE in key.scopes else (),
            is_lasting=key.expires_at is None,
            limits=key if is_limited(key) else None,
            priority=key.priority,
        )

    def _bad_key(self, address: str) -> NotIdentifiedError:
        now = time.monotonic()
        began_at, count = self._bad_keys.pop(address, (now, 0))
        if now - began_at >= _WINDOW_S:
            began_at, count = now, 0
        self._bad_keys[address] = (began_at, count + 1)
        if len(self._bad_keys) > _MAX_ADDRESSES:
            self._bad_keys.popitem(last=False)
        if count >= MAX_BAD_KEYS_PER_MINUTE:
            wait_s = int(_WINDOW_S - (now - began_at)) + 1
            return NotIdentifiedError(429, ErrorCode.INVALID_API_KEY, wait_s)
        return NotIdentifiedError(401, ErrorCode.INVALID_API_KEY)


def _known(keys: Mapping[str, ApiKey], parsed: ParsedKey | None) -> ApiKey | None:
    """The key, if known, right, enabled and not expired. The same work for every wrong one."""
    key = keys.get(parsed.id) if parsed is not None else None
    is_right = same_hash(
        parsed.sha256 if parsed is not None else _NO_HASH, key.sha256 if key else "-" * 64
    )
    if key is None or not is_right or not key.enabled:
        return None
    return key if key.expires_at is None or time.time() < key.expires_at else None


def _token(authorization: str) -> str:
    scheme, _, rest = authorization.strip().partition(" ")
    rest = rest.strip()
    match scheme.lower():
        case "bearer":
            return rest
        case "basic":
            return _basic_token(rest)
        case _:
            return authorization.strip()


def _basic_token(encoded: str) -> str:
    try:
        pair = base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return encoded
    user, _, password = pair.partition(":")
    return user if user.startswith(f"{PREFIX}_") else password or user


def _refuse_key_in_query(query: str, *, is_required: bool) -> None:
    if f"{PREFIX}_" in query or (
        is_required
        and any(name.lower() in _QUERY_NAMES for name, _ in parse_qsl(query, max_num_fields=100))
    ):
        raise NotIdentifiedError(400, ErrorCode.CREDENTIAL_IN_URL)
