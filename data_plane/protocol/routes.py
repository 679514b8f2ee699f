"""Which endpoints there are, and what each one is.

An endpoint that is not in this table does not exist. Nothing of a client's target ever
reaches a node: a node is sent the canonical path that stands here.
How a target finds its row: see `matching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from shared.codes import SENTENCES, ErrorCode
from shared.model_names import InvalidModelNameError, ModelName, split_source


class Dialect(StrEnum):
    """The family of shapes in which a client talks."""

    NATIVE = "native"
    OPENAI = "openai"
    ANTHROPIC = "anthropic"


class Framing(StrEnum):
    """How the records of a streamed answer are told apart."""

    NONE = "none"
    NDJSON = "ndjson"
    SSE_OPENAI = "sse-openai"
    SSE_RESPONSES = "sse-responses"
    SSE_ANTHROPIC = "sse-anthropic"


class Action(StrEnum):
    """What the proxy does with a request."""

    ROOT = "root"
    OPENAPI = "openapi"
    VERSION = "version"
    TAGS = "tags"
    PS = "ps"
    MODELS = "models"
    MODEL = "model"
    SHOW = "show"
    INFER = "infer"
    STATUS = "status"
    RECOMMENDATIONS = "recommendations"
    MANAGE = "manage"
    """Changes what nodes hold."""

    ONE_NODE = "one_node"
    """Is about whom one node belongs to, or signed by it: 501, since there are many."""

    OPTIONS = "options"


ASKS_NODES: Final = frozenset({Action.MANAGE, Action.STATUS, Action.RECOMMENDATIONS})
"""Takes the word of nodes, and is no inference."""


class Access(StrEnum):
    """Who may call a route where credentials are asked for."""

    ANYONE = "anyone"
    """Load balancers and the CLI knock at `/` without a credential; it says nothing. What routes
    there are is no secret either."""

    INFERENCE = "inference"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One endpoint."""

    method: str
    path: str
    """Canonical: this is what a node is sent."""

    dialect: Dialect
    action: Action
    access: Access = Access.INFERENCE
    framing: Framing = Framing.NONE
    """Of the streamed answer; NONE: the route never streams and ignores `stream`."""

    streams_by_default: bool = False
    replayable: bool = False
    """It costs compute and nothing else, so another node may be tried before the first byte."""

    model_keys: tuple[str, ...] = ()
    """Body keys that may name the model; the first that is not empty counts."""

    request_type: str = ""
    """Ollama's name for the body, spoken in its type errors."""

    names_empty_model: bool = False
    """A missing model is "not found" (404) here, elsewhere it is "required" (400)."""

    takes_form: bool = False
    """Its body is multipart/form-data, not JSON."""

    same_digest_only: bool = False
    """Vectors of two versions of a model do not compare, so a drifted copy may not help out."""

    without_model: str = "model is required"
    """What Ollama says (with 400) to a request that names none."""

    quotes_unknown_model: bool = False
    """As Ollama's sentence on this route does."""

    def unknown_model(self, text: str) -> str:
        """The sentence that Ollama speaks on this route (with 404) when no such model is there."""
        if self.quotes_unknown_model:
            return f'model "{text}" not found'
        if self.same_digest_only:
            return f'model "{text}" not found, try pulling it first'
        if self.action is Action.SHOW:
            text = _display(text)
        return f"model '{text}' not found"


def _infer(path: str, dialect: Dialect, request_type: str, framing: Framing, **more: bool) -> Route:
    return Route(
        method="POST",
        path=path,
        dialect=dialect,
        action=Action.INFER,
        framing=framing,
        streams_by_default=framing is Framing.NDJSON,
        replayable=True,
        model_keys=("model",),
        request_type=request_type,
        names_empty_model=more.get("names_empty_model", False),
        same_digest_only=framing is Framing.NONE,
    )


def _read(path: str, action: Action, dialect: Dialect = Dialect.NATIVE) -> Route:
    return Route(method="GET", path=path, dialect=dialect, action=action)


_MODEL_OR_NAME: Final = ("model", "name")
_NO_NAME: Final = SENTENCES[ErrorCode.INVALID_MODEL]


def _manage(method: str, path: str, request_type: str = "", **more: Any) -> Route:
    return Route(
        method=method,
        path=path,
        dialect=Dialect.NATIVE,
        action=Action.MANAGE,
        access=Access.OPERATOR,
        request_type=request_type,
        **more,
    )


def _of_one_node(method: str, path: str) -> Route:
    return Route(
        method=method,
        path=path,
        dialect=Dialect.NATIVE,
        action=Action.ONE_NODE,
        access=Access.OPERATOR,
    )


def _follow(path: str, request_type: str, **more: Any) -> Route:
    """An order whose progress is streamed."""
    return _manage(
        "POST",
        path,
        request_type,
        model_keys=_MODEL_OR_NAME,
        framing=Framing.NDJSON,
        streams_by_default=True,
        **more,
    )


ROUTES: Final = (
    Route(
        method="GET",
        path="/",
        dialect=Dialect.NATIVE,
        action=Action.ROOT,
        access=Access.ANYONE,
    ),
    Route(
        method="GET",
        path="/openapi.json",
        dialect=Dialect.NATIVE,
        action=Action.OPENAPI,
        access=Access.ANYONE,
    ),
    _read("/api/version", Action.VERSION),
    _read("/api/status", Action.STATUS),
    _read("/api/tags", Action.TAGS),
    _read("/api/ps", Action.PS),
    _read("/v1/models", Action.MODELS, Dialect.OPENAI),
    Route(
        method="POST",
        path="/api/show",
        dialect=Dialect.NATIVE,
        action=Action.SHOW,
        replayable=True,
        model_keys=_MODEL_OR_NAME,
        request_type="ShowRequest",
    ),
    _infer(
        "/api/generate",
        Dialect.NATIVE,
        "GenerateRequest",
        Framing.NDJSON,
        names_empty_model=True,
    ),
    _infer("/api/chat", Dialect.NATIVE, "ChatRequest", Framing.NDJSON),
    _infer("/api/embed", Dialect.NATIVE, "EmbedRequest", Framing.NONE, names_empty_model=True),
    _infer("/api/embeddings", Dialect.NATIVE, "EmbeddingRequest", Framing.NONE),
    _infer("/v1/chat/completions", Dialect.OPENAI, "ChatCompletionRequest", Framing.SSE_OPENAI),
    _infer(
        "/v1/completions",
        Dialect.OPENAI,
        "CompletionRequest",
        Framing.SSE_OPENAI,
        names_empty_model=True,
    ),
    _infer("/v1/embeddings", Dialect.OPENAI, "EmbedRequest", Framing.NONE, names_empty_model=True),
    _infer("/v1/responses", Dialect.OPENAI, "ResponsesRequest", Framing.SSE_RESPONSES),
    _infer("/v1/messages", Dialect.ANTHROPIC, "MessagesRequest", Framing.SSE_ANTHROPIC),
    Route(
        method="POST",
        path="/v1/audio/transcriptions",
        dialect=Dialect.OPENAI,
        action=Action.INFER,
        replayable=True,
        model_keys=("model",),
        takes_form=True,
    ),
    _follow("/api/pull", "PullRequest", without_model=_NO_NAME),
    _follow("/api/push", "PushRequest"),
    _follow("/api/create", "CreateRequest", without_model=_NO_NAME),
    _manage(
        "POST",
        "/api/copy",
        "CopyRequest",
        model_keys=("source",),
        without_model="source is required",
        quotes_unknown_model=True,
    ),
    _manage(
        "DELETE",
        "/api/delete",
        "DeleteRequest",
        model_keys=_MODEL_OR_NAME,
        without_model=_NO_NAME,
    ),
    _of_one_node("POST", "/api/me"),
    _of_one_node("POST", "/api/signout"),
    _of_one_node("POST", "/api/experimental/web_search"),
    _of_one_node("POST", "/api/experimental/web_fetch"),
    _read("/api/experimental/model-recommendations", Action.RECOMMENDATIONS),
)

# Paths that end in something of the client's. What comes after is one segment, except for a
# model's name, which may hold slashes ("hf.co/org/model") and come escaped.
_BLOBS: Final = "/api/blobs/"
_USER_KEYS: Final = "/api/user/keys/"
MODELS: Final = "/v1/models/"
OPEN_ENDED: Final = (
    Route(method="GET", path=MODELS, dialect=Dialect.OPENAI, action=Action.MODEL),
    _manage("HEAD", _BLOBS),
    _manage("POST", _BLOBS),
    _of_one_node("DELETE", _USER_KEYS),
)


def _display(text: str) -> str:
    try:
        return ModelName.parse(split_source(text)[0]).display
    except InvalidModelNameError:
        return text
