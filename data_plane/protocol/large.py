"""A request body that is too large to hold: what we write of it ourselves, and spans of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator


class Span(NamedTuple):
    """Bytes that lie in the store."""

    start: int
    size: int


class Store(Protocol):
    """Where the bytes lie."""

    async def read(self, start: int, size: int) -> bytes:
        """Exactly these bytes; raises OSError."""


class LargeBody:
    """Can be sent any number of times, by several at once, for as long as its store is open."""

    __slots__ = ("_parts", "_size", "_store")

    def __init__(self, store: Store, parts: tuple[bytes | Span, ...]) -> None:
        self._store = store
        self._parts = parts
        self._size = sum(len(part) if isinstance(part, bytes) else part.size for part in parts)

    def __len__(self) -> int:
        return self._size

    def cut(self, limit: int) -> Iterator[bytes | Span]:
        """Its parts in their order, none of a store larger than `limit` bytes."""
        for part in self._parts:
            if isinstance(part, bytes):
                yield part
                continue
            end = part.start + part.size
            for start in range(part.start, end, limit):
                yield Span(start, min(limit, end - start))

    async def read(self, part: bytes | Span) -> bytes:
        """The bytes of a part that `cut` gave. Raises OSError when the store has lost them."""
        return part if isinstance(part, bytes) else await self._store.read(*part)

    async def whole(self) -> bytes:
        """All of it, for one that turned out small. Raises OSError."""
        return b"".join([await self.read(part) for part in self._parts])
