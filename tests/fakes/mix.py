"""What clients do all day, at random: streams, whole answers, leaving midway, mistakes.

Each request ends as one word in `ended`. "silent" is the one that must never be: an answer that
looks complete and is not.
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

AT_ONCE: Final = 8
PAUSE_S: Final = 0.02
MISTAKES: Final = (b"{", b"[]", b'{"model":1}', b'{"model":"a","MODEL":"b"}', b'{"model":"../x"}')
DOCUMENTED: Final = frozenset({200, 400, 500, 502, 503, 504})
NEVER: Final = frozenset({"silent", "undocumented", "connection"})


class Mix:
    """AT_ONCE clients, until stopped. Use it as a context manager."""

    def __init__(self, port: int, model: str, seed: int) -> None:
        self.ended: Counter[str] = Counter()
        self.odd: list[str] = []
        """The first things that must never be, in full."""

        self._base = f"http://127.0.0.1:{port}"
        self._model = model
        self._dice = random.Random(seed)  # noqa: S311 - a mixture, no secret
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), name="mix")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Let the running requests finish, and end."""
        self._stop.set()
        self._thread.join()

    async def _all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=60)
        async with aiohttp.ClientSession(self._base, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(AT_ONCE)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            try:
                end = await self._one(session)
            except (aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError) as error:
                end = "connection"
                self._note(end, repr(error))
            self.ended[end] += 1
            await asyncio.sleep(PAUSE_S)

    async def _one(self, session: aiohttp.ClientSession) -> str:
        turn = self._dice.random()
        if turn < 0.05:
            body = self._dice.choice(MISTAKES)
            async with session.post("/api/chat", data=body) as answer:
                await answer.read()
                return "refused" if answer.status == 400 else self._odd_status(answer.status)
        is_stream = turn < 0.90
        words = self._dice.randint(50, 200)
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"Say {words} words"}],
            "stream": is_stream,
        }
        async with session.post("/api/chat", json=request) as answer:
            if answer.status != 200:
                return self._odd_status(answer.status)
            if is_stream and turn < 0.15:
                await answer.content.readany()
                answer.close()
                return "left"
            return await self._judged(answer, "stream" if is_stream else "whole")

    async def _judged(self, answer: aiohttp.ClientResponse, kind: str) -> str:
        """What a 200 came to. Only a last record that says so makes it complete."""
        received = b""
        try:
            async for piece in answer.content.iter_any():
                received += piece
        except aiohttp.ClientPayloadError:
            return "broken visibly" if b'"error":' in received else "broken"
        last = json.loads(received.strip().rpartition(b"\n")[2])
        if last.get("done") is True:
            return kind
        self._note("silent", received[-200:].decode())
        return "silent"

    def _odd_status(self, status: int) -> str:
        if status in DOCUMENTED:
            return str(status)
        self._note("undocumented", str(status))
        return "undocumented"

    def _note(self, kind: str, text: str) -> None:
        if len(self.odd) < 10:
            self.odd.append(f"{kind}: {text}")
