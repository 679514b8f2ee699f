"""What clients do all day, at random: streams, whole answers, leaving midway, mistakes.

Each request bears an id of its own, and `asked` says how it ended (fakes/history.py). "silent" is
the one that must never be: an answer that looks complete and is not.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp
from fakes.history import Ended

if TYPE_CHECKING:
    from types import TracebackType

AT_ONCE: Final = 8
PAUSE_S: Final = 0.02
PATIENCE_S: Final = 60.0
MISTAKES: Final = (b"{", b"[]", b'{"model":1}', b'{"model":"a","MODEL":"b"}', b'{"model":"../x"}')
DOCUMENTED: Final = frozenset({500, 502, 503, 504})


class Mix:
    """`at_once` clients, until stopped. Use it as a context manager."""

    def __init__(self, port: int, model: str, seed: int, *, at_once: int = AT_ONCE) -> None:
        self.asked: dict[str, Ended] = {}
        self._base = f"http://127.0.0.1:{port}"
        self._model = model
        self._at_once = at_once
        self._dice = random.Random(seed)  # noqa: S311 - a mixture, no secret
        self._ids = itertools.count()
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

    def ended(self) -> Counter[str]:
        """How many requests ended how."""
        return Counter(each.kind for each in self.asked.values())

    async def _all(self) -> None:
        timeout = aiohttp.ClientTimeout(total=PATIENCE_S)
        async with aiohttp.ClientSession(self._base, timeout=timeout) as session:
            await asyncio.gather(*(self._client(session) for _ in range(self._at_once)))

    async def _client(self, session: aiohttp.ClientSession) -> None:
        while not self._stop.is_set():
            request_id = f"mix-{next(self._ids):08d}"
            status = 0
            try:
                kind, status = await self._one(session, request_id)
            except aiohttp.ClientConnectorError:
                kind = "unreachable"
            except (aiohttp.ClientError, ConnectionError):
                kind = "connection"
            except TimeoutError:
                kind = "hung"
            self.asked[request_id] = Ended(kind, status, time.monotonic())
            await asyncio.sleep(PAUSE_S)

    async def _one(self, session: aiohttp.ClientSession, request_id: str) -> tuple[str, int]:
        turn = self._dice.random()
        headers = {"X-Request-Id": request_id}
        if turn < 0.05:
            body = self._dice.choice(MISTAKES)
            async with session.post("/api/chat", data=body, headers=headers) as answer:
                await answer.read()
                return ("refused" if answer.status == 400 else "undocumented"), answer.status
        is_stream = turn < 0.90
        words = self._dice.randint(50, 200)
        request: dict[str, Any] = {
            "model": self._model,
            "messages": [{"role": "user", "content": f"Say {words} words"}],
            "stream": is_stream,
        }
        async with session.post("/api/chat", json=request, headers=headers) as answer:
            if answer.status != 200:
                await answer.read()
                is_known = answer.status in DOCUMENTED
                return (str(answer.status) if is_known else "undocumented"), answer.status
            if is_stream and turn < 0.15:
                await answer.content.readany()
                answer.close()
                return "left", answer.status
            return await judged(answer, "stream" if is_stream else "whole"), answer.status


async def judged(answer: aiohttp.ClientResponse, kind: str) -> str:
    """What a 200 came to. Only a last record that says so makes it complete."""
    received = b""
    try:
        async for piece in answer.content.iter_any():
            received += piece
    except (aiohttp.ClientPayloadError, aiohttp.ClientOSError):
        return "broken visibly" if b'"error":' in received else "broken"
    last = json.loads(received.strip().rpartition(b"\n")[2])
    return kind if last.get("done") is True else "silent"
