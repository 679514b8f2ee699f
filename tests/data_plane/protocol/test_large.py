"""A large body: our own bytes and spans of a store, in their order, cut small."""

from data_plane.protocol.large import LargeBody, Span


class Memory:
    """A store."""

    async def read(self, start: int, size: int) -> bytes:
        return b"0123456789"[start : start + size]


async def test_it_is_cut_into_pieces_as_often_as_is_asked() -> None:
    body = LargeBody(Memory(), (b"<", Span(2, 5), b">", Span(0, 1), Span(3, 0)))
    assert len(body) == 8
    for _ in range(2):
        pieces = [await body.read(part) for part in body.cut(2)]
        assert pieces == [b"<", b"23", b"45", b"6", b">", b"0"]
    assert await body.whole() == b"<23456>0"
