"""Which beginning of a prompt a node has in its cache.

A prompt is cut into blocks, and each block's hash goes on from the one before: two prompts that
agree in the hash of a block agree in everything before it. So the longest common prefix is found by
halving, and no text is kept. (As the prefix caches of vLLM and of llm-d's router do it.)
"""

from __future__ import annotations

from hashlib import blake2b
from math import exp
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

BLOCK_BYTES: Final = 256
"""Some 64 tokens. A beginning that differs within its first block is none worth going after."""

MAX_BYTES: Final = 64 * 1024
"""Of a prompt that is hashed: 16 thousand tokens tell conversations apart."""

KEPT: Final = 16
"""Prompts remembered of one runner, whether the node still has them or not."""

FIRST_DEPTH: Final = 4
"""Prompts that a runner is taken to have cached, until it is known better."""

BLOCK_TOKENS: Final = BLOCK_BYTES // 4
RETURN_S: Final = 60.0
"""The chance that somebody goes on from a prompt falls by e in this time. Found by simulation: with
two minutes, or half or twice the weight, less is won."""

REUSE_SHARE: Final = 0.1
"""llama-server continues a cached prompt when this much of the new one agrees (its default)."""


def block_hashes(seed: bytes, parts: Iterable[bytes]) -> tuple[int, ...]:
    """The chained hashes of a prompt's whole blocks. The seed is what caches never mix."""
    text = bytearray()
    for part in parts:
        text += part[: MAX_BYTES - len(text)]
        if len(text) >= MAX_BYTES:
            break
    running = blake2b(seed, digest_size=8)
    found = []
    for end in range(BLOCK_BYTES, len(text) + 1, BLOCK_BYTES):
        running.update(text[end - BLOCK_BYTES : end])
        found.append(int.from_bytes(running.digest()))
    return tuple(found)


def common(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    """How many blocks two prompts begin with in common."""
    if not one or not other or one[0] != other[0]:
        return 0
    low, high = 1, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[middle - 1] == other[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


class Prompts:
    """What one runner has worked on, the latest first, and how much of it is still cached."""

    __slots__ = ("at", "depth", "kept")

    def __init__(self) -> None:
        self.depth = FIRST_DEPTH
        """How many of the latest prompts are taken to be cached."""

        self.kept: list[tuple[int, ...]] = []
        """The latest first."""

        self.at: list[float] = []
        """When each of them came (s)."""

    def longest(self, blocks: tuple[int, ...], depth: int) -> tuple[int, int]:
        """Of the latest `depth`: the most blocks in common, and at which place (0: the latest).

        The prompt has at least one block.
        """
        best = place = 0
        first = blocks[0]
        for position, kept in enumerate(self.kept[:depth]):
            if kept[0] == first:
                length = common(kept, blocks)
                if length > best:
                    best, place = length, position
        return best, place

    def hit(self, blocks: tuple[int, ...], now: float) -> tuple[float, float]:
        """The share of the prompt that is expected to be cached; and the tokens of other prompts
        that have to give way to it, each as likely as somebody still goes on from it.
        """
        if not blocks or not self.kept:
            return 0.0, 0.0
        length, place = self.longest(blocks, self.depth)
        share = length / len(blocks)
        if share <= REUSE_SHARE:
            if len(self.kept) < self.depth:
                return share, 0.0  # there is room beside them
            length, place = 0, self.depth - 1
        lost = len(self.kept[place]) - length
        if not lost:
            return share, 0.0  # it goes on from there
        return share, lost * BLOCK_TOKENS * exp((self.at[place] - now) / RETURN_S)

    def worth(self, now: float) -> float:
        """Tokens that would have to be read again if the runner left, by the same chance."""
        cached = zip(self.kept[: self.depth], self.at, strict=False)
        blocks = sum(len(kept) * exp((at - now) / RETURN_S) for kept, at in cached)
        return blocks * BLOCK_TOKENS

    def put(self, blocks: tuple[int, ...], now: float) -> None:
        """The runner works on this prompt: in place of the one that it begins like, if any."""
        if not blocks:
            return
        length, position = self.longest(blocks, KEPT)
        if length / len(blocks) > REUSE_SHARE:
            del self.kept[position], self.at[position]
        self.kept.insert(0, blocks)
        self.at.insert(0, now)
        del self.kept[KEPT:], self.at[KEPT:]

    def learn(self, expected: tuple[float, int], measured: float) -> None:
        """What was in common with some prompt (share, place), and the share found to be cached."""
        share, place = expected
        if share < 0.3:  # noqa: PLR2004 - too little to be told from chance
            return
        if place >= self.depth and measured > share / 2:
            self.depth = place + 1
        elif 0 < place < self.depth and measured < share / 4:
            self.depth = place
