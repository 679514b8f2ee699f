"""The clients: first turns at times of their own, later ones after the answer before and a thought.

Everything is measured from the moment in which the client sends, so that no proxy can hide a queue.
An answer counts when it is whole; anything else (a refusal, a break, an end without the last words,
none at all when the time is up) is a miss.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from routing.answers import TOKEN_BYTES, piece_text
from routing.scenarios import span_of
from routing.simulate import Answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from peers import Target
    from routing.rules import Asked
    from routing.scenarios import Request

NATIVE: Final = "/api/chat"
OPENAI: Final = "/v1/chat/completions"
PATIENCE_S: Final = 90.0  # after the last first turn: who has no answer by then is a miss
JSON: Final = {"Content-Type": "application/json"}
ROLES: Final = ("system", "user", "assistant")


class BrokenError(Exception):
    """An answer that is none."""


@dataclass
class Tally:
    """What became of one contender's requests."""

    answers: list[Answer] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Load:
    """All requests of a scenario, to one proxy."""

    def __init__(
        self,
        target: Target,
        path: str,
        asked: Sequence[Asked],
        bodies: Mapping[str, Mapping[int, bytes]],
    ) -> None:
        self.url, self.key = f"http://127.0.0.1:{target.port}", target.key
        self.path, self.bodies = path, bodies[path]
        self.asked = asked
        self.later = {a.request.after: a for a in asked if a.request.after is not None}
        self.tally = Tally()
        self._loop = asyncio.get_running_loop()

    async def run(self, began_at: float) -> Tally:
        """From `began_at` (of the loop's clock) until all is answered or the time is up."""
        span_s = span_of([asked.request for asked in self.asked])
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10.0)
        connector = aiohttp.TCPConnector(limit=0)
        headers = {"Authorization": f"Bearer {self.key}"}
        async with aiohttp.ClientSession(
            self.url, connector=connector, timeout=timeout, headers=headers
        ) as session:
            sessions = [
                asyncio.ensure_future(self._session(session, asked, began_at))
                for asked in self.asked
                if asked.request.after is None
            ]
            left_s = began_at + span_s + PATIENCE_S - self._loop.time()
            _, late = await asyncio.wait(sessions, timeout=left_s)
            for task in late:
                task.cancel()
            for outcome in await asyncio.gather(*sessions, return_exceptions=True):
                if isinstance(outcome, Exception):
                    raise outcome
        self._note_never_asked()
        return self.tally

    async def _session(
        self, session: aiohttp.ClientSession, asked: Asked | None, began_at: float
    ) -> None:
        """One user: turn after turn."""
        assert asked is not None
        await asyncio.sleep(began_at + asked.request.at - self._loop.time())
        while True:
            await self._ask(session, asked)
            asked = self.later.get(asked.number)
            if asked is None:
                return
            await asyncio.sleep(asked.request.think_s)

    async def _ask(self, session: aiohttp.ClientSession, asked: Asked) -> None:
        answer = Answer(asked, self._loop.time())
        self.tally.answers.append(answer)
        try:
            async with session.post(
                self.path, data=self.bodies[asked.number], headers=JSON
            ) as response:
                await self._read(response, answer)
        except (aiohttp.ClientError, BrokenError, OSError) as broken:
            self.tally.faults.append(f"{type(broken).__name__}: {broken}")
        finally:
            answer.ended_at = self._loop.time()

    async def _read(self, response: aiohttp.ClientResponse, answer: Answer) -> None:
        if response.status != HTTPStatus.OK:
            raise BrokenError(f"{response.status} {(await response.text())[:160]}")
        written, is_over = 0, False
        async for line in response.content:
            text, is_last = said_by(line)
            if text and not written:
                answer.first_at = self._loop.time()
            written += len(text)
            is_over |= is_last
        wanted = answer.asked.request.output_tokens
        if not is_over or written != wanted * TOKEN_BYTES:
            raise BrokenError(f"{written // TOKEN_BYTES} of {wanted} tokens, whole: {is_over}")
        answer.is_whole = True

    def _note_never_asked(self) -> None:
        """Turns whose session never came that far: offered by the scenario, and missed."""
        seen = {answer.asked.number for answer in self.tally.answers}
        now = self._loop.time()
        missing = [Answer(asked, now) for asked in self.asked if asked.number not in seen]
        self.tally.answers += missing


def bodies_of(asked: Sequence[Asked], path: str) -> dict[int, bytes]:
    """Every request's body by number, made before the clock runs."""
    return {each.number: json.dumps(body_of(each.request, path)).encode() for each in asked}


def body_of(request: Request, path: str) -> dict[str, Any]:
    """A chat as clients send it: no word of how long the answer will be."""
    messages = []
    for place, piece in enumerate(request.prompt):
        role = ROLES[0] if place == 0 else ROLES[1 if place % 2 else 2]
        messages.append({"role": role, "content": piece_text(piece)})
    body: dict[str, Any] = {"model": request.model, "messages": messages, "stream": True}
    if path == OPENAI:
        # As SDKs and web interfaces that show token counts do it.
        body["stream_options"] = {"include_usage": True}
    elif request.num_ctx is not None:
        body["options"] = {"num_ctx": request.num_ctx}
    return body


def said_by(line: bytes) -> tuple[str, bool]:
    """The text of one line of a stream, and whether it is the last; BrokenError for an error."""
    line = line.removeprefix(b"data:").strip()
    if line == b"[DONE]":
        return "", True
    if not line or not line.startswith(b"{"):
        return "", False
    said = json.loads(line)
    if "error" in said:
        raise BrokenError(str(said["error"])[:160])
    if "choices" in said:
        return "".join(c["delta"].get("content") or "" for c in said["choices"]), False
    return said.get("message", {}).get("content", ""), bool(said.get("done"))
