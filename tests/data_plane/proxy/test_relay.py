"""The answer on its way: complete, broken, abandoned."""

from fakes.ollama import FakeOllama


async def test_a_stream_arrives_as_the_node_wrote_it(plane) -> None:
    async with FakeOllama() as node:
        await plane.apply(node)
        answer = await plane.chat()
        assert answer.status == 200
        assert answer.headers["Content-Type"] == "application/x-ndjson"
        assert answer.headers["X-Aivonx-Node"] == "node-1"
        text = await answer.text()
        assert text.endswith("\n")
        assert '"done":true' in text.splitlines()[-1]
        line = await plane.line()
        assert line["outcome"] == "ok"
        assert line["answer_tokens"] > 0
        await plane.idle()
