"""POST /v1/messages: the Anthropic-compatible route. It never emits `ping` or `error` events."""

import hashlib
from contextlib import aclosing
from typing import Any

from aiohttp import web
from fakes import ollama_mind as mind
from fakes.faults import MidwayError
from fakes.ollama_generate import (
    Ask,
    Collected,
    Final,
    Piece,
    collect,
    last_said,
    need,
    need_completion,
    speak,
    text_of,
)
from fakes.ollama_json import Json, dump, event
from fakes.ollama_node import AnswerError, Call, installed
from fakes.ollama_openai import SSE, limits_of

_FIELDS = {
    "model": "string",
    "max_tokens": "any",
    "messages": "array",
    "system": "any",
    "stream": "bool",
    "temperature": "any",
    "top_p": "any",
    "top_k": "any",
    "stop_sequences": "array",
    "tools": "array",
    "thinking": "object",
}
_CHARS_PER_TOKEN = 4


async def messages(call: Call) -> web.StreamResponse:
    """POST /v1/messages."""
    fields = call.fields(_FIELDS, "MessagesRequest")
    sent, said = fields.get("model", ""), fields.get("messages", [])
    if not sent:
        raise AnswerError(400, "model is required")
    if type(fields.get("max_tokens")) is not int or fields["max_tokens"] <= 0:
        raise AnswerError(400, "max_tokens is required and must be positive")
    if not said:
        raise AnswerError(400, "messages is required")
    model = installed(call.node, sent, "model '{name}' not found")
    need_completion(model, sent, "chat")
    tools = [_native_tool(tool) for tool in fields.get("tools", []) if isinstance(tool, dict)]
    if tools:
        need(model, "tools")
    prompt, _, size = last_said(call, said)
    wish = fields.get("thinking", {}).get("type")
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=size + mind.count_tokens(text_of(fields.get("system"))),
        options=limits_of(fields),
        # Unlike the native route, a wish that the model cannot fulfil is dropped.
        think="thinking" in model.capabilities and wish == "enabled",
        tools=[] if _answers_tool(said[-1]) else tools,
    )
    shape = _Shape(call, ask, sent)
    return await (shape.stream() if fields.get("stream") else shape.whole())


def _native_tool(tool: Json) -> Json:
    schema = tool.get("input_schema") or {}
    return {"function": {"name": str(tool.get("name", "")), "parameters": schema}}


def _answers_tool(message: Any) -> bool:
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    return any(isinstance(part, dict) and part.get("type") == "tool_result" for part in parts)


class _Shape:
    """One message, whole or in events."""

    def __init__(self, call: Call, ask: Ask, sent: str) -> None:
        self._call = call
        self._ask = ask
        self._sent = sent
        seed = f"{ask.prompt} {call.node.count.finished}"
        self._id = f"msg_{hashlib.sha256(seed.encode()).hexdigest()[:24]}"
        self._open: str | None = None
        self._index = -1
        self._called = False

    async def whole(self) -> web.StreamResponse:
        """One object."""
        whole, final = await collect(self._call.node, self._ask)
        self._called = bool(whole.tool_calls)
        usage = {"input_tokens": final.prompt_tokens, "output_tokens": final.tokens}
        stop = {"stop_reason": self._reason(final), "usage": usage}
        return await self._call.json(self._head() | {"content": _blocks(whole)} | stop)

    async def stream(self) -> web.StreamResponse:
        """Events; an error midway is lost, the stream just ends."""
        writer = self._call.writer
        try:
            async with aclosing(speak(self._call.node, self._ask)) as items:
                async for item in items:
                    if not writer.begun:
                        await writer.start(SSE)
                        await self._begin()
                    if isinstance(item, Final):
                        await self._end(item)
                    else:
                        await self._piece(item)
            return await writer.finish()
        except MidwayError:
            return await writer.finish_past_fault()

    async def _send(self, kind: str, **members: Any) -> None:
        await self._call.writer.write(event({"type": kind, **members}, kind))

    async def _begin(self) -> None:
        # Before the model has read the prompt its size is a guess from the characters.
        guess = max(1, len(self._ask.prompt) // _CHARS_PER_TOKEN)
        usage = {"input_tokens": guess, "output_tokens": 0}
        await self._send("message_start", message=self._head() | {"content": [], "usage": usage})

    async def _piece(self, piece: Piece) -> None:
        for made in piece.tool_calls:
            self._called = True
            function = made["function"]
            block = {"type": "tool_use", "id": made["id"], "name": function["name"], "input": {}}
            await self._switch(f"tool {made['id']}", block)
            text = dump(function["arguments"]).decode()
            await self._delta({"type": "input_json_delta", "partial_json": text})
        if piece.thinking:
            await self._switch("thinking", {"type": "thinking", "thinking": ""})
            await self._delta({"type": "thinking_delta", "thinking": piece.thinking})
        if piece.content:
            await self._switch("text", {"type": "text", "text": ""})
            await self._delta({"type": "text_delta", "text": piece.content})

    async def _switch(self, block: str, start: Json) -> None:
        if self._open == block:
            return
        await self._shut()
        self._open = block
        self._index += 1
        await self._send("content_block_start", index=self._index, content_block=start)

    async def _delta(self, delta: Json) -> None:
        await self._send("content_block_delta", index=self._index, delta=delta)

    async def _shut(self) -> None:
        if self._open is not None:
            await self._send("content_block_stop", index=self._index)

    async def _end(self, final: Final) -> None:
        await self._shut()
        usage = {"input_tokens": final.prompt_tokens, "output_tokens": final.tokens}
        stop = {"stop_reason": self._reason(final)}
        await self._send("message_delta", delta=stop, usage=usage)
        await self._send("message_stop")

    def _head(self) -> Json:
        return {"id": self._id, "type": "message", "role": "assistant", "model": self._sent}

    def _reason(self, final: Final) -> str:
        if self._called:
            return "tool_use"
        return "max_tokens" if final.done_reason == "length" else "end_turn"


def _blocks(whole: Collected) -> list[Json]:
    blocks: list[Json] = []
    if whole.thinking:
        blocks.append({"type": "thinking", "thinking": whole.thinking})
    if whole.content:
        blocks.append({"type": "text", "text": whole.content})
    for made in whole.tool_calls:
        function = made["function"]
        call = {"type": "tool_use", "id": made["id"], "name": function["name"]}
        blocks.append(call | {"input": function["arguments"]})
    return blocks
