"""A process whose memory runs short."""

import asyncio
import io
import json
from collections.abc import Sequence

from fakes.scripted import END, Asked, ScriptedNode, Step, chunk, head, read_body, stall, until

from shared.snapshot import ProxyConfig

from .conftest import chat_body, eventually, snapshot_of
from .test_process import open_stream, readiness, session, start

__all__ = ["session", "start"]  # fixtures of another module

MIB = 1024 * 1024
LIMIT_BYTES = 160 * MIB
"""Three times what the process takes when it is idle."""

HELD = 50
HELD_BYTES = 3 * MIB
"""Each in memory until its node answers."""

FIRST = b'{"model":"llama3.2","message":{"role":"assistant","content":"a"},"done":false}\n'
LAST = b'{"model":"llama3.2","message":{"role":"assistant","content":""},"done":true}\n'

CODE_OF = {
    "/api/chat": lambda answer: answer["code"],
    "/v1/chat/completions": lambda answer: answer["error"]["code"],
    "/v1/messages": lambda answer: answer["error"]["type"],
}


async def nothing_is_under_way(process, session) -> None:
    """Fifty clients that leave are seen to have left one after the other."""
    url = f"http://127.0.0.1:{process.metrics_port}/metrics"
    async with asyncio.timeout(30.0):
        while True:
            async with session.get(url) as answer:
                if "\naivonx_in_flight 0.0\n" in await answer.text():
                    return
            await asyncio.sleep(0.01)


async def test_short_of_memory_it_begins_nothing_and_finishes_what_is_under_way(
    start, session
) -> None:
    """F66: at 85 % of the limit 503 `overloaded`, not ready, one line; streams go on."""
    finish = asyncio.Event()

    def script(asked: Asked) -> Sequence[Step]:
        if asked.length > MIB:
            return [stall]
        return [read_body, head(), chunk(FIRST), until(finish), chunk(LAST), END]

    async with ScriptedNode(script, reads_body=False) as node:
        process = await start(
            await snapshot_of([node], config=ProxyConfig()),
            PYTHONDEVMODE="",  # its memory would be measured, too
            AIVONX_MAX_MEMORY_BYTES=str(LIMIT_BYTES),
        )
        assert (await readiness(process, session))[0] == 200
        reader, writer = await open_stream(process)
        await reader.readuntil(b'"done":false')

        content = [{"role": "user", "content": "x" * HELD_BYTES}]
        large = json.dumps(chat_body(messages=content)).encode()

        async def hold() -> None:
            async with session.post(process.url("/api/chat"), data=io.BytesIO(large)) as answer:
                await answer.read()

        held = [asyncio.create_task(hold()) for _ in range(HELD)]
        await eventually(lambda: process.of("memory_short"), within_s=30.0)
        for path, code_of in CODE_OF.items():
            async with session.post(process.url(path), json=chat_body(max_tokens=5)) as answer:
                assert answer.status == 503, path
                assert 1 <= int(answer.headers["Retry-After"]) <= 5
                assert code_of(await answer.json()).startswith("overloaded"), path
        status, said = await readiness(process, session)
        assert (status, said["checks"]["memory"]) == (503, "memory is short")
        assert len(process.of("memory_short")) == 1

        for each in held:
            each.cancel()
        await asyncio.gather(*held, return_exceptions=True)  # or refused within their body
        finish.set()
        assert b'"done":true' in await reader.readuntil(b"\r\n0\r\n\r\n")
        writer.close()
        await nothing_is_under_way(process, session)
        async with session.post(process.url("/api/chat"), json=chat_body()) as answer:
            assert answer.status == 200, "alone it is served, whatever is still held"
        await eventually(lambda: process.of("memory_suffices"), within_s=30.0)
        assert (await readiness(process, session))[0] == 200
