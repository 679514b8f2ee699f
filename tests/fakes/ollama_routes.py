"""From a raw request to its route: recording, host and origin checks, faults, error shapes."""

import asyncio
import hashlib
import ipaddress
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web
from fakes import ollama_anthropic as anthropic
from fakes import ollama_audio as audio
from fakes import ollama_manage as manage
from fakes import ollama_native as native
from fakes import ollama_openai as openai
from fakes import ollama_responses as responses
from fakes.faults import (
    BEFORE_HEAD,
    Fault,
    FaultKind,
    MidwayError,
    StreamEndError,
    Writer,
    close,
    raw_write,
    reset,
)
from fakes.ollama_json import BodyError, Json, dump, first_value
from fakes.ollama_models import ModelNameError, canonical
from fakes.ollama_node import (
    BUSY_TEXT,
    JSON_TYPE,
    AnswerError,
    Call,
    Node,
    Recorded,
    native_error,
)
from fakes.ollama_scheduler import BusyError

Handler = Callable[[Call], Awaitable[web.StreamResponse]]

ROUTES: Final[Mapping[str, Mapping[str, Handler]]] = {
    "/": {"GET": manage.root, "HEAD": manage.root},
    "/api/version": {"GET": manage.version, "HEAD": manage.version},
    "/api/status": {"GET": manage.status},
    "/api/experimental/model-recommendations": {"GET": manage.recommendations},
    "/api/tags": {"GET": manage.tags, "HEAD": manage.tags},
    "/api/ps": {"GET": manage.ps},
    "/api/show": {"POST": manage.show},
    "/api/generate": {"POST": native.generate},
    "/api/chat": {"POST": native.chat},
    "/api/embed": {"POST": native.embed},
    "/api/embeddings": {"POST": native.embeddings},
    "/api/pull": {"POST": manage.pull},
    "/api/push": {"POST": manage.push},
    "/api/create": {"POST": manage.create},
    "/api/copy": {"POST": manage.copy},
    "/api/delete": {"DELETE": manage.delete},
    "/api/blobs/*": {"HEAD": manage.blob_head, "POST": manage.blob_create},
    "/api/me": {"POST": manage.me},
    "/api/signout": {"POST": manage.signout},
    "/v1/chat/completions": {"POST": openai.chat},
    "/v1/completions": {"POST": openai.completions},
    "/v1/embeddings": {"POST": openai.embeddings},
    "/v1/models": {"GET": openai.models},
    "/v1/models/*": {"GET": openai.model_one},
    "/v1/responses": {"POST": responses.responses},
    "/v1/messages": {"POST": anthropic.messages},
    "/v1/audio/transcriptions": {"POST": audio.transcriptions},
}
SINCE: Final[Mapping[str, tuple[int, ...]]] = {
    "/v1/responses": (0, 13, 3),
    "/v1/messages": (0, 14, 0),
    "/api/status": (0, 17, 3),
    "/v1/audio/transcriptions": (0, 20, 0),
    "/api/experimental/model-recommendations": (0, 23, 0),
}
"""Routes that came late, by the reference's paragraph 8; all others are older than the fake."""

INFERENCE: Final = frozenset(
    {
        *("/api/generate", "/api/chat", "/api/embed", "/api/embeddings"),
        *("/v1/chat/completions", "/v1/completions", "/v1/embeddings"),
        *("/v1/responses", "/v1/messages", "/v1/audio/transcriptions"),
    }
)
_OPENAI_TYPES: Final = {400: "invalid_request_error", 404: "not_found_error"}
_ANTHROPIC_TYPES: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    529: "overloaded_error",
}
_APP_SCHEMES: Final = ("app", "file", "tauri", "vscode-webview", "vscode-file")
_LOCAL_NAMES: Final = ("localhost", ".localhost", ".local", ".internal")
_ERRORS: Final[Mapping[FaultKind, tuple[int, str]]] = {
    FaultKind.RUNNER_DIED: (500, "llama runner process has terminated: exit status 2"),
    FaultKind.LOAD_FAILS: (
        500,
        "llama-server process has terminated: cudaMalloc failed: out of memory",
    ),
    FaultKind.BUSY: (503, BUSY_TEXT),
}


async def dispatch(node: Node, request: web.Request) -> web.StreamResponse:
    """Answer one request as the node would."""
    raw_path = request.raw_path.split("?", 1)[0]
    path = raw_path.removeprefix(node.prefix) or "/" if node.prefix else raw_path
    blob = path.removeprefix("/api/blobs/")
    # The real one answers 200 without reading when it has the blob already.
    known = blob != path and blob in node.library.blobs and request.method == "POST"
    body = b"" if known else await request.read()
    _record(node, request, body)
    if node.token and request.headers.get("Authorization") != f"Bearer {node.token}":
        headers = {"WWW-Authenticate": "Bearer"}
        return web.Response(status=401, text="401 Authorization Required", headers=headers)
    if not raw_path.startswith(node.prefix):
        return _plain(404, "404 page not found")
    if not _host_allowed(request) or not _origin_allowed(request):
        return web.Response(status=403)
    if request.method == "OPTIONS" and "Origin" in request.headers:
        return web.Response(status=204, headers=_cors(request))
    if (redirect := _tidied(request, path)) is not None:
        return redirect
    return await _routed(node, request, path, body)


def _record(node: Node, request: web.Request, body: bytes) -> None:
    headers = tuple(
        (key.decode("latin-1"), value.decode("latin-1")) for key, value in request.raw_headers
    )
    number = node.paths.total() + 1
    node.paths[request.raw_path.split("?", 1)[0]] += 1
    node.requests.append(Recorded(request.method, request.raw_path, headers, body, number))


async def _routed(node: Node, request: web.Request, path: str, body: bytes) -> web.StreamResponse:
    route, tail = _route_of(node, path)
    if route is None:
        return _plain(404, "404 page not found")
    handler = route.get(request.method)
    if handler is None:
        refused = _plain(405, "405 method not allowed")
        refused.headers["Allow"] = ", ".join(sorted(route))
        return refused
    fault = node.faults.strike(path, lambda: _model_in(body))
    call = Call(node, request, path, body, Writer(request, fault, node.faults), tail)
    if path not in INFERENCE:
        return await _managed(call, handler, fault)
    node.count.enter()
    try:
        answer = await _answered(call, handler, fault)
    except (asyncio.CancelledError, ConnectionResetError):
        node.count.cancelled += 1
        raise
    else:
        node.count.finished += 1
        return answer
    finally:
        node.count.active -= 1


async def _managed(call: Call, handler: Handler, fault: Fault | None) -> web.StreamResponse:
    """A pull ends when its client goes away; tests ask whether it did."""
    try:
        return await _answered(call, handler, fault)
    except (asyncio.CancelledError, ConnectionResetError):
        call.node.abandoned[call.path] += 1
        raise


def _route_of(node: Node, path: str) -> tuple[Mapping[str, Handler] | None, str]:
    if path == "/api/health" and node.health_route:
        return {"GET": manage.health}, ""
    if _release_of(node) < SINCE.get(path, ()):
        return None, ""
    if path in ROUTES and not path.endswith("*"):
        return ROUTES[path], ""
    stem, _, tail = path.rpartition("/")
    # A path parameter is one segment: a name with a slash in it is no route.
    if tail and tail != "*" and "%2f" not in tail.lower():
        return ROUTES.get(f"{stem}/*"), tail
    return None, ""


def _release_of(node: Node) -> tuple[int, ...]:
    numbers = node.version.partition("-")[0].split(".")
    return tuple(int(number) for number in numbers)


async def _answered(call: Call, handler: Handler, fault: Fault | None) -> web.StreamResponse:
    try:
        if fault is not None:
            early = await _fault_before_head(call, fault)
            if early is not None:
                return early
        return await handler(call)
    except AnswerError as error:
        return await _failed(call, error.status, error.text, error.extra)
    except BusyError:
        return await _failed(call, 503, BUSY_TEXT)
    except MidwayError as error:
        return await _failed(call, 500, str(error))


async def _failed(
    call: Call, status: int, text: str, extra: Json | None = None
) -> web.StreamResponse:
    """An error answer; no second fault strikes it."""
    writer = Writer(call.request, None, call.node.faults)
    return await writer.whole(dump(error_shape(call.path, status, text, extra)), JSON_TYPE, status)


async def _fault_before_head(call: Call, fault: Fault) -> web.StreamResponse | None:
    """Carry the fault out if its time is now; None lets the handler go on."""
    if fault.kind in {FaultKind.RESET, FaultKind.CLOSE}:
        if fault.after is not None:
            return None
        (reset if fault.kind is FaultKind.RESET else close)(call.request)
        raise StreamEndError
    if fault.kind not in BEFORE_HEAD:
        return None
    await asyncio.sleep(fault.seconds)
    if fault.kind in _ERRORS:
        raise AnswerError(*_ERRORS[fault.kind])
    match fault.kind:
        case FaultKind.SILENCE:
            await call.node.faults.stall(fault)
        case FaultKind.GARBAGE:
            raw_write(call.request, b"\x00\x01this is no HTTP/0.0\r\n\r\n")
            close(call.request)
            raise StreamEndError
        case FaultKind.STATUS:
            raise AnswerError(fault.status, fault.text)
        case FaultKind.MISSING:
            raise AnswerError(404, f"model '{_model_in(call.body, raw=True)}' not found")
        case FaultKind.REDIRECT:
            return web.Response(status=302, headers={"Location": fault.text})
    return None


def _model_in(body: bytes, *, raw: bool = False) -> str | None:
    """The model that a body names, canonical unless raw; None when there is none."""
    try:
        value = first_value(body)
        name = value.get("model") if isinstance(value, dict) else None
        if not isinstance(name, str):
            return None
        return name if raw else canonical(name)
    except (BodyError, ModelNameError):
        return None


def error_shape(path: str, status: int, text: str, extra: Json | None = None) -> Json:
    """The error body of the path's dialect."""
    if path == "/v1/messages":
        kind = _ANTHROPIC_TYPES.get(status, "api_error")
        request_id = f"req_{hashlib.sha256(text.encode()).hexdigest()[:24]}"
        inner = {"type": kind, "message": text}
        return {"type": "error", "error": inner, "request_id": request_id}
    if path.startswith("/v1/"):
        kind = _OPENAI_TYPES.get(status, "api_error")
        return {"error": {"message": text, "type": kind, "param": None, "code": None}}
    return native_error(text, (extra or {}).items())


def _plain(status: int, text: str) -> web.Response:
    return web.Response(status=status, body=text.encode(), headers={"Content-Type": "text/plain"})


def _tidied(request: web.Request, path: str) -> web.Response | None:
    """The redirects of a Go server: `//` collapsed, a trailing slash taken off a known path."""
    clean = path
    while "//" in clean:
        clean = clean.replace("//", "/")
    if clean == path and len(path) > 1 and path.endswith("/"):
        clean = path.rstrip("/")
        if clean not in ROUTES:
            return None
    if clean == path:
        return None
    status = 301 if request.method in {"GET", "HEAD"} else 307
    return web.Response(status=status, headers={"Location": clean})


def _host_allowed(request: web.Request) -> bool:
    """A node bound to loopback wants a local Host; a foreign one is DNS rebinding."""
    host = urlsplit(f"//{request.headers.get('Host', '')}").hostname or ""
    if host in {"", socket.gethostname().lower()} or host.endswith(_LOCAL_NAMES):
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return address.is_loopback or address.is_private


def _origin_allowed(request: web.Request) -> bool:
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    parts = urlsplit(origin)
    local = parts.hostname in {"localhost", "127.0.0.1", "0.0.0.0"}
    same = parts.netloc == request.headers.get("Host")
    return local or same or parts.scheme in _APP_SCHEMES


def _cors(request: web.Request) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": request.headers["Origin"],
        "Access-Control-Allow-Methods": "GET,POST,PUT,PATCH,DELETE,HEAD,OPTIONS",
        "Access-Control-Allow-Headers": "Authorization,Content-Type,User-Agent,Accept",
        "Access-Control-Max-Age": "43200",
    }
