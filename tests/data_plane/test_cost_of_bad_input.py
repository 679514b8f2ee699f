"""What a request costs, whatever it is made of."""

import io
from collections.abc import Sequence
from pathlib import Path

import pytest
from fakes.scripted import END, Asked, ScriptedNode, Step, chunk, head, read_body

from .conftest import snapshot_of
from .test_process import session, start

__all__ = ["session", "start"]  # fixtures of another module

SIZE = 2 * 1024 * 1024
TIMES = 100


def of(part: bytes, *, field: bytes = b'"messages":[%s]') -> bytes:
    """A request of about `SIZE` bytes whose field holds as many of these as fit."""
    return b'{"model":"llama3.2",' + field % part.join([b""] * (SIZE // len(part)))[:-1] + b"}"


BODIES = {
    "messages": of(b'{"role":"user","content":""},'),
    "empty arrays": of(b"[],"),
    "empty objects": of(b"{},"),
    "numbers": of(b"1,"),
    "keys": b'{"model":"llama3.2",' + b",".join(b'"%x":0' % n for n in range(SIZE // 9)) + b"}",
    "options": b'{"model":"llama3.2","options":{'
    + b",".join(b'"%x":0' % n for n in range(SIZE // 9))
    + b"}}",
    "escapes": of(rb"\u0041", field=b'"prompt":"%s"').replace(b'\\u004"', b'"'),
    "brackets": of(b"[["),
}


LAST = b'{"model":"llama3.2","message":{"role":"assistant","content":""},"done":true}\n'


def script(_asked: Asked) -> Sequence[Step]:
    return [read_body, head(), chunk(LAST), END]


def memory_bytes(pid: int, line: str) -> int:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(line + ":")[2].split()[0]) * 1024


@pytest.mark.parametrize("what", BODIES)
@pytest.mark.parametrize("path", ["/api/chat", "/v1/chat/completions"])
async def test_no_request_costs_a_hundred_times_its_size(start, session, path, what) -> None:
    """S55."""
    async with ScriptedNode(script, reads_body=False) as node:
        process = await start(await snapshot_of([node]), PYTHONDEVMODE="")
        pid = process.process.pid
        before = memory_bytes(pid, "VmRSS")
        async with session.post(process.url(path), data=io.BytesIO(BODIES[what])) as answer:
            await answer.read()
            assert answer.status in {200, 400}
        assert memory_bytes(pid, "VmHWM") - before < TIMES * SIZE
