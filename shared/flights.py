"""What an instance has under way, for the other instances: it expires within seconds.

Apart from its report, because it is larger, is written more often, and only where a strategy
predicts; the control plane has no use for it. MessagePack with field names: a reader takes no
notice of fields that it does not know. Nodes and models are named once, and then by their place.
"""

from __future__ import annotations

from array import array
from sys import byteorder
from typing import Annotated, Final

import msgspec

MAX_PAIRS: Final = 5_000
"""Pairs of a node and a model, those with the most requests first. What is left out counts at its
node as requests for whatever model."""

MAX_PROMPTS: Final = 512
MAX_BLOCKS: Final = 4_096
"""Of the prompts that were sent last, in all: 32 KiB of hashes, or 1 MiB of text."""

MAX_BYTES: Final = 1024 * 1024
"""A larger record is not read. Ours has half of that when no two pairs share a node or a model."""

HASH_BYTES: Final = 8

_Count = Annotated[int, msgspec.Meta(ge=0, le=1_000_000_000)]
_Place = Annotated[int, msgspec.Meta(ge=0, lt=1_000_000)]


class PairFlights(msgspec.Struct, frozen=True, array_like=True):
    """Requests for one model at one node."""

    node: _Place
    model: _Place
    count: _Count
    load_ms: _Count = 0
    """Until the model is there; 0: it is in memory."""


class SentPrompt(msgspec.Struct, frozen=True, array_like=True):
    """The beginning of a prompt, which the node has in its cache now."""

    node: _Place
    model: _Place
    blocks: bytes
    """Chained hashes of its blocks, big-endian, `HASH_BYTES` each."""


class Flights(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one instance has under way."""

    life: str = ""
    """Of the process: the next one counts anew."""

    turn: _Count = 0
    """How often it was written: what does not change any more is dead."""

    nodes: tuple[str, ...] = ()
    models: tuple[str, ...] = ()
    """By what they are in memory by: the digest, or the canonical name."""

    active: tuple[_Count, ...] = ()
    """Active requests at each of the nodes, for whatever model."""

    pairs: tuple[PairFlights, ...] = ()
    sent: _Count = 0
    """Prompts that were sent so far; `prompts` are the last of them."""

    prompts: tuple[SentPrompt, ...] = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Flights)


def encode(flights: Flights) -> bytes:
    """The record as bytes."""
    return _encoder.encode(flights)


def decode(data: bytes) -> Flights | None:
    """The record from bytes; None when this reader cannot read it, or it does not fit together."""
    if len(data) > MAX_BYTES:
        return None
    try:
        found = _decoder.decode(data)
    except msgspec.DecodeError:
        return None
    nodes, models = len(found.nodes), len(found.models)
    is_sound = (
        len(found.active) == nodes
        and len(found.prompts) <= found.sent
        and all(each.node < nodes and each.model < models for each in found.pairs)
        and all(
            each.node < nodes and each.model < models and len(each.blocks) % HASH_BYTES == 0
            for each in found.prompts
        )
    )
    return found if is_sound else None


def pack(blocks: tuple[int, ...]) -> bytes:
    """Hashes of blocks as bytes."""
    words = array("Q", blocks)
    if byteorder == "little":
        words.byteswap()
    return words.tobytes()


def unpack(packed: bytes) -> tuple[int, ...]:
    """The reverse of `pack`."""
    words = array("Q", packed)
    if byteorder == "little":
        words.byteswap()
    return tuple(words)
