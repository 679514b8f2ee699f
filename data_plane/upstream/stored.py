"""A file that the loop never waits for: read and written in threads, closed when they are done."""

from __future__ import annotations

import asyncio
import errno
import os
import tempfile
from typing import TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_T = TypeVar("_T")


class StoredFile:
    """Bytes on disk. Whoever opens it closes it, also when something was cancelled on the way."""

    __slots__ = ("_descriptor", "_is_closed", "_pending", "size")

    def __init__(self, descriptor: int, size: int) -> None:
        self.size = size
        """Bytes that lie in it."""

        self._descriptor = descriptor
        self._pending = 0
        self._is_closed = False

    @classmethod
    def open(cls, path: Path) -> Self:
        """A file that is there. Raises OSError."""
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        return cls(descriptor, os.fstat(descriptor).st_size)

    @classmethod
    def nameless(cls, directory: Path) -> Self:
        """A new one without a name: it is gone with its last user, even if that is killed.

        Raises OSError.
        """
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            return cls(os.dup(file.fileno()), 0)

    async def append(self, data: bytes) -> None:
        """Write at the end. One at a time. Raises OSError: the disk may be full."""
        start = self.size
        self.size += len(data)
        await self._in_thread(lambda: _write_all(self._descriptor, data, start))

    async def read(self, start: int, size: int) -> bytes:
        """Exactly these bytes. Raises OSError, also when there are fewer."""
        data = await self._in_thread(lambda: os.pread(self._descriptor, size, start))
        if len(data) != size:
            raise OSError(errno.EIO, "a stored file is shorter than it was")
        return data

    def close(self) -> None:
        """Let go of it; a second call does nothing."""
        if not self._is_closed:
            self._is_closed = True
            self._close_if_idle()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        running = asyncio.get_running_loop().run_in_executor(None, work)
        self._pending += 1
        running.add_done_callback(self._note_done)
        # Whoever waits may be cancelled, the thread cannot be: it must find its descriptor open,
        # since by then the number could mean another file.
        return await asyncio.shield(running)

    def _note_done(self, done: asyncio.Future[_T]) -> None:
        self._pending -= 1
        self._close_if_idle()
        if not done.cancelled():
            done.exception()  # looked at, in case nobody waits any more

    def _close_if_idle(self) -> None:
        if self._is_closed and not self._pending:
            os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes, start: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, start)
        view, start = view[written:], start + written
