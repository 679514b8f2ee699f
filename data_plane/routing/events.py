"""What the policy is told, and what it answers. Times of day are no part of it: see `Policy`."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Arrival(msgspec.Struct, frozen=True, kw_only=True):
    """A request that looks for a node."""

    canonical: str
    digest: str = ""
    """Of the version that is served; "" when no node says."""

    options_key: str = ""
    """The options that make a node load the model anew (`num_ctx` and the like), as canonical
    JSON; "" when the client sets none."""

    prompt_tokens: int = 0
    """An estimate from the size of the text; the policy learns how far it is off. 0: unknown."""

    blocks: tuple[int, ...] = ()
    """Chained hashes of the prompt's blocks (`prefix.block_hashes`); () when unknown."""

    max_output: int | None = None
    """Tokens that the client lets the answer have at most."""

    is_embedding: bool = False
    is_streamed: bool = True
    """False: the first byte of the answer comes with its last token, and tells nothing."""

    principal: str = ""
    """Whose request it is, for those that share fairly."""


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """What a whole answer said of itself. None: it did not say; tokens are counts."""

    load_s: float | None = None
    prompt_tokens: int | None = None
    """Those that the node had cached included."""

    prompt_s: float | None = None
    """Spent on those that it had not."""

    cached_tokens: int | None = None
    eval_tokens: int | None = None
    eval_s: float | None = None
    total_s: float | None = None


class Reason(StrEnum):
    """Why this node."""

    ONLY = "only_holder"
    LEAST_ACTIVE = "least_active"
    LOWEST_LATENCY = "lowest_latency"
    UNKNOWN_LATENCY = "unknown_latency"
    PREDICTED = "predicted"
    PREFIX = "prefix"
    """It has the beginning of the prompt in its cache, and is hardly slower than the best."""

    EXPLORED = "explored"
    """Nothing was heard of it for long, and the request is small."""

    ALL_FULL = "all_full"
    DRIFTED = "drifted_version"
    PANIC = "panic"


class Terms(msgspec.Struct, frozen=True):
    """What a choice was predicted to cost, in seconds; `predict` says how."""

    ttft_s: float
    decode_s: float
    others_s: float
    eviction_s: float
    wait_s: float
    """Of the time to the first token: until a slot is free."""

    load_s: float
    """Of the time to the first token: until the model is loaded. Both waits run at once."""

    @property
    def total_s(self) -> float:
        """What is compared."""
        return self.ttft_s + self.decode_s + self.others_s + self.eviction_s


class Hold(msgspec.Struct, frozen=True):
    """Every slot that fits is taken, and waiting for one beats every other node."""

    predicted_s: float
    """Until the first token, were it sent to the best node now."""

    node_id: str = ""
    """The best node: those who come later are to be told of it, as `ahead`."""


class NoNodeKind(StrEnum):
    """Why none."""

    UNKNOWN_MODEL = "unknown_model"
    """No wished node holds it: 404."""

    NO_NODE = "no_node"
    """It is held, by nodes that cannot be used now or were tried: 503."""


class NoNode(msgspec.Struct, frozen=True):
    """Nobody can be chosen."""

    kind: NoNodeKind
    only_verdicts: bool = False
    """Wished holders are left that nothing but a verdict keeps out: see `choose`."""
