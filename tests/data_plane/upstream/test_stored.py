"""A file beside the loop: exact, nameless, and never closed under a thread that uses it."""

import asyncio
import os
import threading
from pathlib import Path

import pytest

from data_plane.upstream import stored
from data_plane.upstream.stored import StoredFile


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_what_is_appended_can_be_read_anywhere(tmp_path) -> None:
    file = StoredFile.nameless(tmp_path / "new")
    assert list((tmp_path / "new").iterdir()) == [], "nothing is left behind by a killed process"
    await file.append(b"hello ")
    await file.append(b"world")
    assert file.size == 11
    assert await file.read(4, 3) == b"o w"
    with pytest.raises(OSError, match="shorter"):
        await file.read(10, 2)
    file.close()
    file.close()


async def test_a_file_that_is_there(tmp_path) -> None:
    (tmp_path / "blob").write_bytes(b"0123456789")
    file = StoredFile.open(tmp_path / "blob")
    assert (file.size, await file.read(2, 5)) == (10, b"23456")
    file.close()


async def test_whoever_is_cancelled_closes_after_the_thread(tmp_path, monkeypatch) -> None:
    """The number of a closed descriptor may belong to another file a moment later."""
    before = descriptors()
    may_go_on, was_open = threading.Event(), []

    def slow(descriptor: int, data: bytes, _start: int) -> None:
        may_go_on.wait(5.0)
        was_open.append(os.fstat(descriptor).st_size == 0 and data == b"x")

    monkeypatch.setattr(stored, "_write_all", slow)
    file = StoredFile.nameless(tmp_path)
    writing = asyncio.ensure_future(file.append(b"x"))
    await asyncio.sleep(0.02)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    file.close()
    may_go_on.set()
    async with asyncio.timeout(5.0):
        while descriptors() != before:
            await asyncio.sleep(0.01)
    assert was_open == [True]
