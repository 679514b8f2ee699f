"""More requests than can be served: so many a second, whatever becomes of those before."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass
class Outcomes:
    """What came of them."""

    seconds: float = 0.0
    sent: int = 0
    served_at: list[float] = field(default_factory=list)
    """When each whole answer with status 200 was there, from the beginning."""

    refused_s: list[float] = field(default_factory=list)
    """How long each refusal took."""

    statuses: dict[int, int] = field(default_factory=dict)
    without_wait: int = 0
    """Refusals that do not say when to come back."""

    broken: int = 0
    """Connections that ended without an answer."""

    def goodput(self, warm_s: float = 0.0) -> float:
        """Requests served per second, of the time behind `warm_s`."""
        served = sum(1 for at in self.served_at if warm_s <= at <= self.seconds)
        return served / (self.seconds - warm_s)

    def refused_within(self, share: float) -> float:
        """The time within which this share of the refusals came (s)."""
        ordered = sorted(self.refused_s)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


class Surge:
    """A crowd of clients of one proxy, which use connections again as clients do."""

    def __init__(self, port: int, path: str, body: Any, headers: Mapping[str, str] = {}) -> None:
        content = json.dumps(body).encode()
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._request = (
            f"POST {path} HTTP/1.1\r\nHost: localhost\r\n{lines}"
            f"Content-Length: {len(content)}\r\n\r\n"
        ).encode() + content
        self._port = port
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._began_at = 0.0

    async def at_rate(self, per_s: float, seconds: float) -> Outcomes:
        """So many a second, evenly; ends when those that were begun have ended."""
        found = Outcomes(seconds=seconds)
        self._began_at = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while (passed_s := time.monotonic() - self._began_at) < seconds:
                for _ in range(int(passed_s * per_s) - found.sent):
                    found.sent += 1
                    group.create_task(self._ask(found))
                await asyncio.sleep(0.005)
        self._leave()
        return found

    async def at_once(self, count: int, seconds: float) -> Outcomes:
        """So many at all times: whoever has its answer asks again."""
        found = Outcomes(seconds=seconds)
        self._began_at = time.monotonic()

        async def go_on() -> None:
            while time.monotonic() - self._began_at < seconds:
                found.sent += 1
                await self._ask(found)

        async with asyncio.TaskGroup() as group:
            for _ in range(count):
                group.create_task(go_on())
        self._leave()
        return found

    async def _ask(self, found: Outcomes) -> None:
        sent_at = time.monotonic()
        try:
            if self._idle:
                reader, writer = self._idle.pop()
            else:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(self._request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = head.partition(b"content-length: ")[2].partition(b"\r")[0]
            await reader.readexactly(int(length))
        except (OSError, asyncio.IncompleteReadError):
            found.broken += 1
            return
        if b"\r\nconnection: close" in head:
            writer.close()
        else:
            self._idle.append((reader, writer))
        now, status = time.monotonic(), int(head[9:12])
        found.statuses[status] = found.statuses.get(status, 0) + 1
        if status == 200:
            found.served_at.append(now - self._began_at)
        else:
            found.refused_s.append(now - sent_at)
            found.without_wait += b"\r\nretry-after: " not in head

    def _leave(self) -> None:
        for _, writer in self._idle:
            with contextlib.suppress(OSError):
                writer.close()
        self._idle.clear()
