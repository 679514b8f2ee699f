"""A fault proxy on a thread of its own, for scenarios that block: the wire to one node.

with Link("127.0.0.1", node.port) as link:
    link.black_hole(); link.heal(); link.reset()
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

from fakes.faultproxy import FaultProxy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Link:
    """Forwards to one host and port until its block ends."""

    def __init__(self, host: str, port: int) -> None:
        self._proxy = FaultProxy(host, port)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="link")

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._proxy.up(), self._loop).result()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.heal()
        asyncio.run_coroutine_threadsafe(self._proxy.down(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def url(self) -> str:
        """Where the node seems to be."""
        return self._proxy.url("http")

    def black_hole(self) -> None:
        """Nothing passes any more, and nobody is told."""
        self._do(self._proxy.black_hole)

    def reset(self) -> None:
        """RST on every open connection; new ones work."""
        self._do(self._proxy.reset)

    def heal(self) -> None:
        """As before."""
        self._do(self._proxy.heal)

    def _do(self, action: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(action)
