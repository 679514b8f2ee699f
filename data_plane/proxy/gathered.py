"""An answer of a node that is gathered here instead of being passed on.

To `Attempts` it is a reply like any other, so that whatever is asked in this way is chosen, leased,
tried again and counted as a client's own request is. What it holds counts against the memory that
request bodies may take.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.admission.gate import NoRoomError
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.reply import Reply
from data_plane.upstream.faults import Fault
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.admission.gate import BodyClaim
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.job import Job
    from data_plane.upstream.answer import NodeAnswer

NO_ROOM: Final = "too many large answers are being gathered at this moment; try again in a moment"


class Gathered(Reply):
    """What a node answered, as a whole."""

    __slots__ = ("_claim", "_parts", "has_room", "is_broken", "lines", "status")

    # The connection of a client is what this reply does not have.
    def __init__(self, claim: BodyClaim) -> None:
        self.headers = {}
        self.bytes_out = 0
        self.is_committed = False
        self.is_held_open = False
        self.filler = None
        self.has_stalled = False
        self.now = asyncio.get_running_loop().time
        self.status = 0
        self.lines = b""
        """The header lines that a client would be sent."""

        self.is_broken = False
        """The node broke off in the middle."""

        self.has_room = True
        self._claim = claim
        self._parts: list[bytes] = []
        self._source: NodeAnswer | None = None

    @property
    def body(self) -> bytes:
        """All of it."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def begin(  # noqa: PLR0913 - as it is for a client
        self,
        status: int,
        lines: bytes,
        first: bytes,
        *,
        length: int | None,  # noqa: ARG002 - see above
        stall_s: float,  # noqa: ARG002 - see above
        closes: bool,  # noqa: ARG002 - see above
    ) -> None:
        """The head and the first content."""
        self.is_committed = True
        self.status, self.lines = status, lines
        self.write(first, None)

    def write(self, content: bytes, whole: bytes | None) -> None:  # noqa: ARG002 - see above
        """More content. It must not raise: it is called from the callback that reads."""
        if not self.has_room:
            return
        self.bytes_out += len(content)
        try:
            self._claim.grow_to(self.bytes_out)
        except NoRoomError:
            self.has_room = False
            self._parts.clear()
            if self._source is not None:
                # Later: the connection is in the middle of what it has read.
                asyncio.get_running_loop().call_soon(self._source.let_go, Fault.BROKEN)
            return
        self._parts.append(content)

    def draws_from(self, source: NodeAnswer | None) -> None:
        """Whom to tell that there is no room."""
        self._source = source

    def finish(self) -> None:
        """A complete answer."""

    def break_off(self, last_words: bytes) -> None:  # noqa: ARG002 - see above
        """The node did not get to its end."""
        self.is_broken = True

    @property
    def is_held_up(self) -> bool:
        """Never: memory takes whatever there is room for."""
        return False

    async def drained(self) -> None:
        """At once."""


async def gather(attempts: Attempts, job: Job, claim: BodyClaim) -> Gathered:
    """Have `job` answered by some node, to the end of the answer; its reply is replaced.

    Nothing has been sent to a client, so that one more node is asked even when the first has
    broken off in the middle. Raises RefusedRequestError when no node can answer, or when the answer
    is cut short or too large.
    """
    gathered = await _gather_once(attempts, job, claim)
    if gathered.is_broken:
        gathered = await _gather_once(attempts, job, claim)
    if gathered.is_broken:
        raise RefusedRequestError(ErrorCode.UPSTREAM_TRUNCATED, detail=job.record.detail)
    return gathered


async def _gather_once(attempts: Attempts, job: Job, claim: BodyClaim) -> Gathered:
    job.reply = gathered = Gathered(claim)
    await attempts.serve(job)
    if not gathered.has_room:
        raise RefusedRequestError(ErrorCode.OVERLOADED, NO_ROOM)
    return gathered
