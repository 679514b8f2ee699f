"""A steady client: every fault is judged by whether it noticed.

It asks all the time, streaming and not, and keeps each answer that was not complete and right. It
runs on a thread with a loop of its own, so that the scenario beside it can block.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import aiohttp

if TYPE_CHECKING:
    from types import TracebackType

PERIOD_S: Final = 0.04
"""25 requests a second: dense enough that no fault of a tenth of a second slips through, light
enough for two cores that run the whole system beside it."""

TIMEOUT_S: Final = 15.0
PROMPT: Final = "canary-prompt-7f3a"
"""Looked for in every log file: prompts must never be there."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request of the canary."""

    started_at: float
    duration_s: float
    fault: str
    """"" when the answer was complete and right."""


class Canary:
    """Asks `ports` in turn until it is stopped; the last entry of `asked` is the newest."""

    def __init__(self, ports: list[int], model: str, *, key: str = "") -> None:
        self.asked: list[Asked] = []
        self._ports = ports
        self._model = model
        self._headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="canary")

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

    @property
    def failures(self) -> list[Asked]:
        """What went wrong."""
        return [asked for asked in self.asked if asked.fault]

    @property
    def slowest_s(self) -> float:
        """The longest that a request took."""
        return max((asked.duration_s for asked in self.asked), default=0.0)

    def served_since(self, instant: float) -> int:
        """How many requests that began after this (monotonic) instant were answered well."""
        return sum(1 for asked in self.asked if asked.started_at >= instant and not asked.fault)

    def assert_unharmed(self, *, at_least: int = 10) -> None:
        """Stop, and fail unless every request was served."""
        self.stop()
        assert len(self.asked) >= at_least, f"only {len(self.asked)} requests were made"
        failures = self.failures
        assert not failures, f"{len(failures)} of {len(self.asked)} failed: {failures[:5]}"

    def _run(self) -> None:
        asyncio.run(self._ask_until_stopped())

    async def _ask_until_stopped(self) -> None:
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_S)
        connector = aiohttp.TCPConnector(limit=0)
        async with aiohttp.ClientSession(
            timeout=timeout, headers=self._headers, connector=connector
        ) as session:
            running: set[asyncio.Task[None]] = set()
            number = 0
            while not self._stop.is_set():
                task = asyncio.create_task(self._ask(session, number))
                running.add(task)
                task.add_done_callback(running.discard)
                number += 1
                await asyncio.sleep(PERIOD_S)
            await asyncio.gather(*running)

    async def _ask(self, session: aiohttp.ClientSession, number: int) -> None:
        started_at = time.monotonic()
        port = self._ports[number % len(self._ports)]
        is_stream = number % 2 == 0
        try:
            fault = await self._fault(session, f"http://127.0.0.1:{port}/api/chat", is_stream)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            fault = f"{type(error).__name__}: {error}"
        self.asked.append(Asked(started_at, time.monotonic() - started_at, fault))

    async def _fault(self, session: aiohttp.ClientSession, url: str, is_stream: bool) -> str:
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": PROMPT}],
            "stream": is_stream,
        }
        async with session.post(url, json=body) as response:
            text = await response.text()
        if response.status != 200:
            return f"{response.status} {text[:300]}"
        last = json.loads(text.strip().rpartition("\n")[2])
        return "" if last.get("done") is True else f"not done: {text[-300:]}"
