"""`/api/show`, remembered: editors ask for it with every keystroke, and it changes with the model.

An answer is kept by what it depends on: the model by its name and digest, `verbose`, and whether
the client is one that Ollama answers differently. A new digest is another key, so that the worst
that can be shown is what the snapshot in force believes. Who may see it is judged before.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final

import msgspec

from data_plane.protocol.dialects import JSON
from data_plane.proxy.gathered import gather
from data_plane.proxy.reply import Answer
from data_plane.routing.events import Reason
from shared.codes import Outcome

if TYPE_CHECKING:
    from data_plane.admission.gate import Gate
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.job import Job

MAX_ENTRIES: Final = 512
MAX_KEPT_BYTES: Final = 16 * 1024 * 1024
"""Of all entries together. A model says 10 to 50 KB of itself, most of it its licence."""

MAX_ENTRY_BYTES: Final = 4 * 1024 * 1024
"""A verbose answer holds the vocabulary and is some megabytes long."""

PLAIN_BODY_BYTES: Final = 4_096
PLAIN_KEYS: Final = frozenset({"model", "verbose"})
"""An answer to more than that is the answer to one request."""

SHOWN_DIFFERENTLY: Final = b"User-Agent: GitHubCopilotChat/"
"""Ollama tells this client another base name (reference 1.8)."""

OTHER_VERSIONS: Final = frozenset({Reason.DRIFTED, Reason.PANIC})
"""Chosen for these reasons, a node may have another version than the one that is served."""

Key = tuple[str, str, bool, bool]


class ShowCache:
    """Answers by key, those used last kept longest."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, bytes] = OrderedDict()
        self._size = 0

    def get(self, key: Key) -> bytes | None:
        """The answer, if it is known."""
        body = self._kept.get(key)
        if body is not None:
            self._kept.move_to_end(key)
        return body

    def put(self, key: Key, body: bytes) -> None:
        """Keep an answer, and drop what has not been asked for the longest time."""
        if len(body) > MAX_ENTRY_BYTES:
            return
        self._drop(key)
        self._kept[key] = body
        self._size += len(body)
        while len(self._kept) > MAX_ENTRIES or self._size > MAX_KEPT_BYTES:
            self._drop(next(iter(self._kept)))

    def clear(self) -> None:
        """Models were changed through us: whatever is known may be wrong."""
        self._kept.clear()
        self._size = 0

    def _drop(self, key: Key) -> None:
        body = self._kept.pop(key, None)
        if body is not None:
            self._size -= len(body)


class Shows:
    """Serves `/api/show`."""

    def __init__(self, attempts: Attempts, gate: Gate, cache: ShowCache) -> None:
        self._attempts = attempts
        self._gate = gate
        self._cache = cache

    async def serve(self, job: Job) -> None:
        """Answer from memory, or ask a node and remember. Raises RefusedRequestError."""
        key = _key(job)
        known = self._cache.get(key) if key is not None else None
        if known is not None:
            await self._answer_known(job, known)
            return
        with self._gate.claim() as claim:
            gathered = await gather(self._attempts, job.part(job.ask, job.record), claim)
            body = gathered.body
            is_served = job.record.reason not in OTHER_VERSIONS
            if key is not None and is_served and gathered.status == 200:  # noqa: PLR2004 - HTTP
                self._cache.put(key, body)
            job.reply.begin(
                gathered.status,
                gathered.lines,
                body,
                length=len(body),
                stall_s=job.view.config.client_stall_timeout_s,
                closes=job.closes,
            )
            await job.reply.drained()

    @staticmethod
    async def _answer_known(job: Job, body: bytes) -> None:
        record = job.record
        record.status, record.outcome, record.bytes_out = 200, Outcome.OK, len(body)
        headers = {"Content-Type": JSON, "X-Request-Id": record.request_id}
        await job.reply.answer(Answer(200, headers, body, closes=job.closes))


def _key(job: Job) -> Key | None:
    """What the answer depends on; None when that is more than can be told beforehand."""
    entry = job.view.pools.models.get(job.ask.canonical)
    if entry is None or not entry.active or entry.any_version or not entry.model.digest:
        return None
    if not isinstance(job.ask.body, bytes) or len(job.ask.body) > PLAIN_BODY_BYTES:
        return None
    asked: dict[str, Any] = msgspec.json.decode(job.ask.body)
    if not asked.keys() <= PLAIN_KEYS:
        return None
    is_verbose = asked.get("verbose") or False
    if not isinstance(is_verbose, bool):
        return None
    is_other = SHOWN_DIFFERENTLY.lower() in job.fields.lower()
    return job.ask.canonical, entry.model.digest, is_verbose, is_other
