"""The state of one fake node, and one call to it as the handlers see it."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from aiohttp import web
from fakes.faults import Faults, Writer
from fakes.ollama_json import BodyError, Json, dump, read_object
from fakes.ollama_models import FakeModel, Library, ModelNameError, canonical, display
from fakes.ollama_scheduler import Limits, Scheduler

JSON_TYPE = "application/json; charset=utf-8"
TEXT_TYPE = "text/plain; charset=utf-8"
BUSY_TEXT = "server busy, please try again.  maximum pending requests exceeded"


class AnswerError(Exception):
    """An error answer before the first record, put into the dialect's shape by the dispatcher."""

    def __init__(self, status: int, text: str, extra: Json | None = None) -> None:
        """`extra` are further members of the native shape."""
        super().__init__(text)
        self.status = status
        self.text = text
        self.extra = extra or {}


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it arrived."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    number: int

    def header(self, name: str) -> str | None:
        """The first header of that name, None if it is not there."""
        low = name.lower()
        return next((value for key, value in self.headers if key.lower() == low), None)


@dataclass(slots=True)
class Speed:
    """How fast the node is; 0 tokens per second means at once."""

    tokens_per_s: float = 0.0
    prompt_tokens_per_s: float = 0.0
    load_s: float = 0.0
    pull_s: float = 0.0


@dataclass(slots=True)
class Count:
    """Inference requests: running now, most at once, finished by the client's leaving."""

    active: int = 0
    peak: int = 0
    cancelled: int = 0
    finished: int = 0

    def enter(self) -> None:
        """One more."""
        self.active += 1
        self.peak = max(self.peak, self.active)


@dataclass(slots=True, eq=False)
class Node:
    """Everything that a handler may look at."""

    name: str
    version: str
    library: Library
    limits: Limits
    speed: Speed = field(default_factory=Speed)
    token: str | None = None
    prefix: str = ""
    health_route: bool = False
    signed_in: bool = False
    cloud_off_by: str = "none"
    """Where it was told not to use the cloud."""
    faults: Faults = field(default_factory=Faults)
    count: Count = field(default_factory=Count)
    requests: list[Recorded] = field(default_factory=list)
    paths: Counter[str] = field(default_factory=Counter)
    abandoned: Counter[str] = field(default_factory=Counter)
    """Requests to other routes than inference whose client went away, by path."""
    scheduler: Scheduler = field(init=False)

    def __post_init__(self) -> None:
        """The scheduler asks for the load time at each load, so that tests may change it."""
        self.scheduler = Scheduler(self.limits, self._load_s)

    def _load_s(self, model: FakeModel) -> float:
        return self.speed.load_s if model.load_s is None else model.load_s

    async def pause(self, tokens: int, per_s: float) -> None:
        """As long as this many tokens take."""
        await asyncio.sleep(tokens / per_s if per_s > 0 else 0)


@dataclass(slots=True)
class Call:
    """One request to one route."""

    node: Node
    request: web.Request
    path: str
    body: bytes
    writer: Writer
    tail: str = ""

    def fields(self, wanted: dict[str, str], struct: str) -> Json:
        """The body's known fields; a bad body is a 400 with Go's words."""
        empty = "EOF" if self.path.startswith("/v1/") else "missing request body"
        try:
            return read_object(self.body, wanted, struct, empty)
        except BodyError as error:
            raise AnswerError(400, str(error)) from error

    async def json(self, value: object, status: int = 200) -> web.StreamResponse:
        """A JSON answer."""
        return await self.writer.whole(dump(value), JSON_TYPE, status)

    async def empty(self, status: int = 200) -> web.StreamResponse:
        """An answer without a body."""
        answer = web.StreamResponse(status=status)
        answer.content_length = 0
        await answer.prepare(self.request)
        await answer.write_eof()
        return answer


def without_source(name: str, *, signed_in: bool) -> str:
    """The name without `:cloud`, `-cloud` or `:local`; the cloud needs a signed-in node."""
    base, _, tag = name.rpartition(":")
    low = tag.lower()
    if not base or "/" in tag:
        return name
    local, cloud = low == "local", low == "cloud" or low.endswith("-cloud")
    if not local and not cloud:
        return name
    stripped = base if low in {"local", "cloud"} else f"{base}:{tag[: -len('-cloud')]}"
    inner = stripped.rpartition(":")[2].lower()
    if inner in {"local", "cloud"} or inner.endswith("-cloud"):
        raise AnswerError(400, "use either :local or :cloud, not both")
    if cloud and not signed_in:
        link = {"signin_url": "https://ollama.com/connect?name=fake&key=ZmFrZQ"}
        raise AnswerError(401, "unauthorized", link)
    return stripped


def installed(node: Node, name: str, missing: str) -> FakeModel:
    """The model of that name; `missing` is the 404 text with {name} or {shown} in it."""
    plain = without_source(name, signed_in=node.signed_in)
    try:
        model = node.library.find(plain)
    except ModelNameError as error:
        raise AnswerError(400, "invalid model name") from error
    if model is None:
        raise AnswerError(404, missing.format(name=name, shown=display(plain)))
    return model


def named(fields: Json) -> str:
    """`model`, else the deprecated `name`."""
    return str(fields.get("model") or fields.get("name") or "")


def checked_name(text: str) -> str:
    """A name that may be created or pulled."""
    try:
        canonical(text)
    except ModelNameError as error:
        raise AnswerError(400, "invalid model name") from error
    return text


def native_error(text: str, extra: Iterable[tuple[str, object]] = ()) -> Json:
    """The error shape of /api."""
    return {"error": text, **dict(extra)}
