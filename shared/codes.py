"""Error codes with the sentence a client sees, and the outcomes of a request.

A code is the same word in every dialect and on both planes; its sentence says what to do next.
Sentences that the real Ollama also speaks (unknown model, unknown route) are built where the
dialect is known, in `data_plane/protocol`, because each route words them in its own way.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class ErrorCode(StrEnum):
    """Why a request was not served. Stable: clients and alerts match on it."""

    INVALID_REQUEST = "invalid_request"
    INVALID_JSON = "invalid_json"
    INVALID_FORM = "invalid_form"
    DUPLICATE_KEY = "duplicate_key"
    INVALID_MODEL = "invalid_model"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    REGISTRY_NOT_ALLOWED = "registry_not_allowed"
    ROUTE_NOT_FOUND = "route_not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_IMPLEMENTED = "not_implemented"
    INVALID_NODES = "invalid_nodes"
    INVALID_DIGEST = "invalid_digest"
    DIGEST_MISMATCH = "digest_mismatch"
    BLOB_TOO_LARGE = "blob_too_large"
    BAD_FRAMING = "bad_framing"
    UNSUPPORTED_TRANSFER_CODING = "unsupported_transfer_coding"
    UNSUPPORTED_HTTP_VERSION = "unsupported_http_version"
    URI_TOO_LONG = "uri_too_long"
    HEADERS_TOO_LARGE = "headers_too_large"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    UNSUPPORTED_CONTENT_ENCODING = "unsupported_content_encoding"
    BAD_CONTENT_ENCODING = "bad_content_encoding"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    EXPECTATION_FAILED = "expectation_failed"
    REQUEST_TIMEOUT = "request_timeout"
    MISSING_API_KEY = "missing_api_key"
    INVALID_API_KEY = "invalid_api_key"
    AMBIGUOUS_CREDENTIALS = "ambiguous_credentials"
    CREDENTIAL_IN_URL = "credential_in_url"
    SCOPE_REQUIRED = "scope_required"
    RATE_LIMITED = "rate_limited"
    ORIGIN_NOT_ALLOWED = "origin_not_allowed"
    HOST_NOT_ALLOWED = "host_not_allowed"
    NOT_READY = "not_ready"
    DRAINING = "draining"
    OVERLOADED = "overloaded"
    NO_HEALTHY_NODE = "no_healthy_node"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_PROTOCOL_ERROR = "upstream_protocol_error"
    UPSTREAM_TRUNCATED = "upstream_truncated"
    UPSTREAM_STALLED = "upstream_stalled"
    NODE_ERROR = "node_error"
    ANSWER_GIVEN_UP = "answer_given_up"
    NODE_TOO_OLD = "node_too_old"
    NODE_DENIED = "node_denied"
    PROXY_SHUTDOWN = "proxy_shutdown"
    INTERNAL_ERROR = "internal_error"


SENTENCES: Final[dict[ErrorCode, str]] = {
    ErrorCode.INVALID_REQUEST: "the request body is not what this route takes",
    ErrorCode.INVALID_JSON: "the request body is not valid JSON; send one JSON object in UTF-8",
    ErrorCode.INVALID_FORM: (
        "the request body is no well-formed multipart/form-data; send the fields 'file' and "
        "'model' as an HTTP library writes them, with its Content-Type"
    ),
    ErrorCode.DUPLICATE_KEY: (
        "the request body spells one key twice (keys differ only in case); send each key once"
    ),
    ErrorCode.INVALID_MODEL: "invalid model name",
    ErrorCode.MODEL_NOT_FOUND: "model not found; see /api/tags for the models that are here",
    ErrorCode.REGISTRY_NOT_ALLOWED: (
        "models may not be moved from or to that registry; ask an operator to add its host to "
        "AIVONX_REGISTRIES"
    ),
    ErrorCode.MODEL_NOT_ALLOWED: (
        "this API key may not use that model; ask an operator to add it to the key"
    ),
    ErrorCode.ROUTE_NOT_FOUND: "404 page not found",
    ErrorCode.METHOD_NOT_ALLOWED: "405 method not allowed",
    ErrorCode.NOT_IMPLEMENTED: (
        "this route is about one node, of which this proxy has many; send the request to the node "
        "itself"
    ),
    ErrorCode.INVALID_NODES: (
        "?nodes= takes names or ids of nodes with commas between them; ask an operator for them"
    ),
    ErrorCode.INVALID_DIGEST: "invalid digest format",
    ErrorCode.DIGEST_MISMATCH: "digest mismatch; send the file again",
    ErrorCode.BLOB_TOO_LARGE: (
        "the file is larger than this proxy has room for; ask an operator to raise "
        "AIVONX_SPOOL_BUDGET_BYTES, or send it to the node itself"
    ),
    ErrorCode.BAD_FRAMING: "the request is not well-formed HTTP/1.1",
    ErrorCode.UNSUPPORTED_TRANSFER_CODING: (
        "the only transfer coding understood is chunked; send the body as it is"
    ),
    ErrorCode.UNSUPPORTED_HTTP_VERSION: "this proxy speaks HTTP/1.1; send the request as HTTP/1.1",
    ErrorCode.URI_TOO_LONG: "the request target is too long",
    ErrorCode.HEADERS_TOO_LARGE: "the request headers are too large",
    ErrorCode.PAYLOAD_TOO_LARGE: (
        "the request body is larger than this proxy accepts; shorten it or ask an operator to "
        "raise AIVONX_MAX_BODY_BYTES"
    ),
    ErrorCode.UNSUPPORTED_CONTENT_ENCODING: (
        "this compression is not accepted; send the body with Content-Encoding gzip or zstd, or as "
        "it is"
    ),
    ErrorCode.BAD_CONTENT_ENCODING: (
        "the request body is not what its Content-Encoding says; send it again, or uncompressed"
    ),
    ErrorCode.UNSUPPORTED_MEDIA_TYPE: "this route takes JSON; send Content-Type: application/json",
    ErrorCode.EXPECTATION_FAILED: "the only expectation understood is 100-continue",
    ErrorCode.REQUEST_TIMEOUT: "the request body did not arrive in time; send it again",
    ErrorCode.MISSING_API_KEY: (
        "an API key is required; send it as 'Authorization: Bearer <key>', as 'x-api-key: <key>' "
        "or as the path prefix /k/<key>"
    ),
    ErrorCode.INVALID_API_KEY: (
        "this API key is unknown, expired, disabled or mistyped; ask an operator for a new one"
    ),
    ErrorCode.AMBIGUOUS_CREDENTIALS: "the request carries two different credentials; send one",
    ErrorCode.CREDENTIAL_IN_URL: (
        "an API key in the query string ends up in logs; send it as 'Authorization: Bearer <key>'"
    ),
    ErrorCode.SCOPE_REQUIRED: (
        "this API key may not manage models; ask an operator for one with the scope 'manage'"
    ),
    ErrorCode.RATE_LIMITED: (
        "this API key has used up what it may ask for now; try again after Retry-After seconds, or "
        "ask an operator for more"
    ),
    ErrorCode.ORIGIN_NOT_ALLOWED: (
        "this web origin may not call the proxy; ask an operator to add it to AIVONX_ORIGINS"
    ),
    ErrorCode.HOST_NOT_ALLOWED: (
        "this proxy is open to its own machine only and was called by another name; call it by its "
        "address or as localhost, or ask an operator to add the name to AIVONX_HOSTS or to make an "
        "API key"
    ),
    ErrorCode.NOT_READY: (
        "this proxy has not received its configuration yet; try again in a few seconds"
    ),
    ErrorCode.DRAINING: "this proxy is shutting down; try again",
    ErrorCode.OVERLOADED: "every node that has this model is busy; try again in a few seconds",
    ErrorCode.NO_HEALTHY_NODE: (
        "no node that has this model can be used at the moment; try again in a few seconds"
    ),
    ErrorCode.UPSTREAM_UNREACHABLE: "no node that has this model could be reached; try again",
    ErrorCode.UPSTREAM_TIMEOUT: "the node stopped answering; try again",
    ErrorCode.UPSTREAM_PROTOCOL_ERROR: "the node sent an answer that is not valid HTTP",
    ErrorCode.UPSTREAM_TRUNCATED: "upstream node failed mid-stream; the answer is incomplete",
    ErrorCode.UPSTREAM_STALLED: "upstream node stopped mid-stream; the answer is incomplete",
    ErrorCode.NODE_ERROR: "the node answered with an error; try again or change the request",
    ErrorCode.ANSWER_GIVEN_UP: (
        "the node broke the answer off before its end, as it does when a model repeats itself; "
        "change the prompt or the sampling options and try again"
    ),
    ErrorCode.NODE_TOO_OLD: (
        "every node that has this model runs an Ollama too old for this route; ask an operator to "
        "update one, or use /api/chat"
    ),
    ErrorCode.NODE_DENIED: (
        "a node does not accept the credential that this proxy has for it; ask an operator to set "
        "the node's token"
    ),
    ErrorCode.PROXY_SHUTDOWN: "the proxy shut down mid-stream; the answer is incomplete",
    ErrorCode.INTERNAL_ERROR: "internal error; the operator finds it in the log by its request id",
}


class Outcome(StrEnum):
    """How a request ended. Every request ends in exactly one."""

    OK = "ok"
    CLIENT_ABORT = "client_abort"
    CLIENT_STALLED = "client_stalled"
    NODE_ERROR = "node_error"
    NODE_TIMEOUT = "node_timeout"
    TRUNCATED = "truncated"
    REJECTED = "rejected"
    SHED = "shed"
    DRAINED = "drained"
