"""The state that the control plane publishes and the data plane obeys: frozen records.

A snapshot is whole: it replaces the one before, nothing is merged. Models are a table that nodes
point into, because a thousand nodes with fifty models each mostly hold the same models, and the
snapshot has to stay small. Times: `_at` is unix seconds (UTC) unless a field says RFC 3339.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Strategy(StrEnum):
    """How a node is chosen among those that have the model."""

    LEAST_ACTIVE = "least_active"
    LOWEST_LATENCY = "lowest_latency"
    PREDICTED = "predicted"


class DriftPolicy(StrEnum):
    """Which version of a model is served where nodes have different ones under one name."""

    MAJORITY = "majority"
    """The one that most active nodes have; of equals, the newest."""

    NEWEST = "newest"
    """The one that was copied to a node last."""

    ANY = "any"
    """Whichever the chosen node has. Vectors of two versions do not compare, so that embeddings go
    by the majority all the same."""


class Verdict(StrEnum):
    """What the health sweep of the control plane says of a node."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class Scope(StrEnum):
    """What an API key is for."""

    INFERENCE = "inference"
    """Ask models, and see which there are."""

    MANAGE = "manage"
    """Pull, copy, create, push and delete models on the nodes."""


class ProxyConfig(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What operators may tune while everything runs."""

    strategy: Strategy = Strategy.LEAST_ACTIVE
    model_strategies: dict[str, Strategy] = msgspec.field(default_factory=dict)
    """By canonical name, or glob over it: other strategies than that of the cluster. A name comes
    before globs, a longer glob before a shorter one."""

    digest_drift: DriftPolicy = DriftPolicy.MAJORITY
    """Which version of a model is served where nodes have different ones."""

    explain: bool = False
    """Say in a header of each answer why its node was chosen."""

    max_waiting: int = 512
    """Requests that a data plane holds at most until a slot of a node is free, where the strategy
    is `predicted` and slots are known. 0 holds none: they queue at the nodes."""

    max_wait_s: float = 300.0
    """How long one may be held, and be predicted to be held."""

    pull_replicas: int = 0
    """Nodes that a pull or create is for that says nothing of nodes: so many of the active pool,
    and every node of it that has the model. 0: all of it."""

    health_interval_s: float = 60.0
    """Between two sweeps of the control plane over all nodes."""

    health_path: str = "/api/health"
    """Asked first; a node that answers 404 there (every real Ollama does) is asked /api/version."""

    model_refresh_interval_s: float = 60.0

    probe_timeout_s: float = 2.0
    probe_interval_s: float = 5.0
    """How often a data plane probes a node that keeps a request waiting in silence."""

    fall: int = 3
    """Failed probes in a row until a node counts as down (HAProxy's default)."""

    rise: int = 2
    """Good probes in a row until it is back (HAProxy's default)."""

    connect_timeout_s: float = 2.0
    max_attempts: int = 3
    """Different nodes tried for one request before its first byte."""

    stream_idle_timeout_s: float = 300.0
    """Silence within a begun answer, from a node whose probes succeed, until it is given up.
    A model that writes a large tool call is silent for minutes. 0 waits for ever."""

    client_stall_timeout_s: float = 60.0
    """How long a client may leave bytes unread before its request is cancelled."""

    filler_sse_s: float = 0.0
    """Silence of a streamed answer in server-sent events until a comment is sent, so that nobody
    in between gives up; 0: never. It says status 200 before the node has answered."""

    filler_ndjson_s: float = 0.0
    """The same for NDJSON, with spaces before a record: legal JSON, but a client that parses lines
    by hand may choke."""


class Model(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a model as nodes list it in /api/tags. The table has equal ones once."""

    name: str
    canonical: str
    digest: str = ""
    size_bytes: int = 0
    parent_model: str = ""
    format: str = ""
    family: str = ""
    families: tuple[str, ...] | None = None
    parameter_size: str = ""
    quantization: str = ""
    context_length: int | None = None
    embedding_length: int | None = None
    capabilities: tuple[str, ...] | None = None
    remote_model: str = ""
    remote_host: str = ""


class AvailableModel(msgspec.Struct, frozen=True, array_like=True):
    """A model on a node's disk: an index into `Snapshot.models`, and the node's own copy time."""

    model: int
    modified_at: str
    """RFC 3339 as the node said it."""


class LoadedModel(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model in a node's memory, as /api/ps lists it."""

    name: str
    canonical: str
    digest: str = ""
    size_bytes: int = 0
    size_vram_bytes: int = 0
    context_length: int = 0
    expires_at: str = ""
    """RFC 3339 as the node said it; may be in the past while a request runs."""
    format: str = ""
    family: str = ""
    families: tuple[str, ...] | None = None
    parameter_size: str = ""
    quantization: str = ""


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An Ollama server that we may send to."""

    id: str
    name: str
    address: str
    """Base URL without a slash at the end (`addresses.NodeAddress.url`)."""

    wished: bool = True
    """The operator wants it used."""

    verdict: Verdict = Verdict.UNKNOWN
    reason: str = ""
    weight: float = 1.0
    max_parallel: int | None = None
    """Requests that it works on at once; None: unknown."""

    version: str = ""
    sealed_token: str = ""
    """Fernet token of the bearer credential that the node asks for; "" when it asks for none."""

    available: tuple[AvailableModel, ...] = ()
    loaded: tuple[LoadedModel, ...] = ()


class ApiKey(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A client's credential. Its secret exists nowhere, see `credentials`."""

    id: str
    sha256: str
    enabled: bool = True
    expires_at: float | None = None
    allowed_models: tuple[str, ...] | None = None
    """Canonical names or globs over them; None: every model."""

    scopes: tuple[Scope, ...] = (Scope.INFERENCE,)
    max_active: int | None = None
    """Requests at once; None: as many as the proxy takes."""

    requests_per_minute: int | None = None
    """As a bucket that holds so many and fills evenly; None: no limit."""

    priority: int = 0
    """Of requests that wait for a slot the higher goes first."""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """The whole state at one revision."""

    epoch: str
    """Changes when history was lost (a restored or new database)."""

    revision: int
    built_at: float
    config: ProxyConfig
    models: tuple[Model, ...]
    nodes: tuple[Node, ...]
    keys: tuple[ApiKey, ...]
