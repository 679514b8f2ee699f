"""One request of a client, and the head by which the next one like it is known."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from aiohttp.http import HttpVersion11

from data_plane.protocol.headers import valid_request_id

if TYPE_CHECKING:
    from aiohttp.http import HttpVersion
    from aiohttp.streams import StreamReader
    from multidict import CIMultiDictProxy

    from data_plane.admission.gate import BodyClaim
    from data_plane.admission.limits import Place
    from data_plane.admission.principal import Principal
    from data_plane.protocol.matching import Match
    from data_plane.protocol.routes import Route
    from data_plane.proxy.caller import Caller
    from data_plane.proxy.job import Job
    from data_plane.proxy.reply import Reply
    from data_plane.proxy.server import ClientConnection
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.record import Record

MAX_LENGTH_DIGITS: Final = 9
"""Of the length of a body that comes whole with its head."""

HEAD_END: Final = b"\r\n\r\n"
_LENGTH: Final = re.compile(
    rb"\A(.*?\r\ncontent-length: ?)([0-9]{1,%d})\r\n" % MAX_LENGTH_DIGITS, re.IGNORECASE | re.DOTALL
)


class Call:
    """One request of a client: as the parser read it, and what has become of it so far."""

    __slots__ = (
        "body",
        "caller",
        "claim",
        "closes",
        "connection",
        "content",
        "error",
        "given_id",
        "headers",
        "is_1_1",
        "is_accepted",
        "is_answered",
        "is_lost",
        "job",
        "judged_by",
        "match",
        "method",
        "place",
        "principal",
        "raw_headers",
        "record",
        "reply",
        "route",
        "should_close",
        "target",
        "version",
        "view",
    )
    __deletable__ = ("reply",)

    # Set when the request is accepted, and as it is understood.
    record: Record
    reply: Reply
    claim: BodyClaim
    caller: Caller
    route: Route
    view: Applied
    principal: Principal

    def __init__(
        self,
        message: Any,  # aiohttp's RawRequestMessage; the one of its parser in C is another class
        content: StreamReader,
        connection: ClientConnection,
    ) -> None:
        self.connection = connection
        self.content = content
        self.headers: CIMultiDictProxy[str] = message.headers
        self.raw_headers: tuple[tuple[bytes, bytes], ...] = message.raw_headers
        self.method: str = message.method
        self.target: str = message.path
        """As it came, nothing decoded."""

        self.version: HttpVersion = message.version
        self.is_1_1 = message.version == HttpVersion11
        # Behind an upgrade the parser finds no request; behind chunks, a trailer of this request
        # among the headers of the next one, which may be another person's (a gateway in front).
        self.should_close = bool(message.should_close or message.upgrade or message.chunked)
        self.given_id = valid_request_id(message.headers.get("X-Request-Id"))
        self.match: Match | None = None
        self.judged_by: Applied | None = None
        """The snapshot by which the principal was found out."""

        self.begin_anew(None)

    def begin_anew(self, body: bytes | None) -> None:
        """The same request again, as far as its head goes, with this body if it has come whole."""
        self.body = body
        self.closes = self.should_close
        """Whether the connection ends with the answer."""

        self.is_accepted = False
        self.is_answered = False
        self.is_lost = False
        """The client has left while no task served it."""

        self.job: Job | None = None
        self.place: Place | None = None
        """That it takes of what its key may have, where that is limited."""

        self.error: Exception | None = None

    def over(self) -> None:
        """It has its record. What was made for it is freed now: it knows us, so that it would stay
        with an idle connection, body and all, and behind a closed one until the collector runs.
        """
        self.body = self.job = self.place = self.error = None
        del self.reply

    @property
    def client(self) -> str:
        """The client's address."""
        return self.connection.client


class KnownHead:
    """A head that was parsed before on this connection: the same bytes mean the same again.

    Clients repeat themselves to the byte, but for the length of the body. That one number is read
    here, and only as a plain decimal one; a head that differs in anything else is parsed.
    """

    __slots__ = ("_after", "_before", "call")

    def __init__(self, call: Call, before: bytes, after: bytes) -> None:
        self.call = call
        self._before = before
        self._after = after

    def body_in(self, data: bytes) -> bytes | None:
        """The body, if this is the head and its whole body, and nothing else."""
        if not data.startswith(self._before):
            return None
        start = len(self._before)
        end = data.find(b"\r", start, start + MAX_LENGTH_DIGITS + 1)
        if end < 0:
            return None
        digits = data[start:end]
        body_at = end + len(self._after)
        if not digits.isdigit() or not data.startswith(self._after, end):
            return None
        return data[body_at:] if len(data) == body_at + int(digits) else None


def length_of(head: bytes) -> int | None:
    """How long the body is that this head announces; None when that takes a parser to tell."""
    lowered = head.lower()
    if b"\r\ntransfer-encoding" in lowered or not lowered:
        return None
    count = lowered.count(b"\r\ncontent-length")
    if not count:
        return 0
    found = _LENGTH.search(head)
    return int(found[2]) if found is not None and count == 1 else None


def known_head(call: Call, data: bytes) -> KnownHead | None:
    """What to know the head of this message by, when it comes again."""
    head = data[: data.find(HEAD_END) + len(HEAD_END)]
    found = _LENGTH.search(head)
    return KnownHead(call, found[1], head[found.end(2) :]) if found is not None else None
