"""POST /v1/responses: the stateless OpenAI Responses route. No `[DONE]` at its end."""

import time
import zlib
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
)
from fakes.ollama_json import Json, dump, event
from fakes.ollama_node import AnswerError, Call, installed
from fakes.ollama_openai import SSE, limits_of, thinks

_FIELDS = {
    "model": "string",
    "input": "any",
    "instructions": "string",
    "max_output_tokens": "any",
    "reasoning": "object",
    "text": "object",
    "tools": "array",
    "stream": "bool",
    "temperature": "any",
    "top_p": "any",
}


async def responses(call: Call) -> web.StreamResponse:
    """POST /v1/responses."""
    fields = call.fields(_FIELDS, "ResponsesRequest")
    sent = fields.get("model", "")
    if not sent:
        raise AnswerError(400, "model is required")
    model = installed(call.node, sent, "model '{name}' not found")
    need_completion(model, sent, "chat")
    items = fields.get("input", "")
    said = [{"role": "user", "content": items}] if isinstance(items, str) else items
    if not isinstance(said, list):
        raise AnswerError(400, "input must be a string or an array")
    prompt, _, size = last_said(call, [_spoken(item) for item in said])
    tools = [_native_tool(tool) for tool in fields.get("tools", []) if _is_function(tool)]
    if tools:
        need(model, "tools")
    answers = said and said[-1].get("type") == "function_call_output"
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=size + mind.count_tokens(fields.get("instructions", "")),
        options=limits_of(fields, "max_output_tokens"),
        think=thinks(model, fields.get("reasoning", {}).get("effort")),
        tools=[] if answers else tools,
        form=_form_of(fields.get("text", {}).get("format")),
    )
    shape = _Shape(call, ask, sent)
    return await (shape.stream() if fields.get("stream") else shape.whole())


def _spoken(item: Any) -> Any:
    """An item as a message: what a tool gave stands in its `output`."""
    if isinstance(item, dict) and item.get("type") == "function_call_output":
        return {"role": "tool", "content": item.get("output")}
    return item


def _is_function(tool: Any) -> bool:
    """Namespaces and searches are known to the node, but are no functions that a model calls."""
    return isinstance(tool, dict) and tool.get("type") == "function"


def _native_tool(tool: Json) -> Json:
    parameters = tool.get("parameters") or {}
    return {"function": {"name": str(tool.get("name", "")), "parameters": parameters}}


def _form_of(wanted: Any) -> Any:
    if not isinstance(wanted, dict) or wanted.get("type") == "text":
        return None
    return wanted.get("schema") or "json"


class _Shape:
    """One response, whole or in events."""

    def __init__(self, call: Call, ask: Ask, sent: str) -> None:
        self._call = call
        self._ask = ask
        self._sent = sent
        self._number = zlib.crc32(f"{ask.prompt} {call.node.count.finished}".encode())
        self._created = int(time.time())
        self._sequence = 0
        self._told = Collected()
        self._open: str | None = None
        self._output: list[Json] = []

    async def whole(self) -> web.StreamResponse:
        """One object."""
        whole, final = await collect(self._call.node, self._ask)
        for kind, text in (("reasoning", whole.thinking), ("message", whole.content)):
            if text:
                self._output.append(self._item(kind, text))
        self._output += [self._function(made) for made in whole.tool_calls]
        return await self._call.json(self._response("completed", final))

    async def stream(self) -> web.StreamResponse:
        """Events; an error midway is lost, the stream just ends."""
        writer = self._call.writer
        try:
            async with aclosing(speak(self._call.node, self._ask)) as items:
                async for item in items:
                    if not writer.begun:
                        await writer.start(SSE)
                        await self._send("response.created", response=self._response("in_progress"))
                        await self._send(
                            "response.in_progress", response=self._response("in_progress")
                        )
                    if isinstance(item, Final):
                        await self._shut()
                        done = self._response("completed", item)
                        await self._send("response.completed", response=done)
                    else:
                        await self._piece(item)
            return await writer.finish()
        except MidwayError:
            return await writer.finish_past_fault()

    async def _send(self, kind: str, **members: Any) -> None:
        head = {"type": kind, "sequence_number": self._sequence}
        self._sequence += 1
        await self._call.writer.write(event(head | members, kind))

    async def _piece(self, piece: Piece) -> None:
        for made in piece.tool_calls:
            await self._shut()
            await self._called(self._function(made))
        if piece.thinking:
            await self._switch("reasoning")
            await self._delta("response.reasoning_summary_text.delta", piece.thinking)
        if piece.content:
            await self._switch("message")
            await self._delta("response.output_text.delta", piece.content)
        self._told.add(piece)

    async def _called(self, item: Json) -> None:
        index, arguments = len(self._output), item["arguments"]
        empty = item | {"arguments": "", "status": "in_progress"}
        where = {"item_id": item["id"], "output_index": index}
        await self._send("response.output_item.added", output_index=index, item=empty)
        await self._send("response.function_call_arguments.delta", **where, delta=arguments)
        await self._send("response.function_call_arguments.done", **where, arguments=arguments)
        await self._send("response.output_item.done", output_index=index, item=item)
        self._output.append(item)

    async def _switch(self, kind: str) -> None:
        if self._open == kind:
            return
        await self._shut()
        self._open = kind
        item = self._item(kind, "") | {"status": "in_progress"}
        item["summary" if kind == "reasoning" else "content"] = []
        await self._send("response.output_item.added", output_index=len(self._output), item=item)
        if kind == "message":
            await self._send("response.content_part.added", **self._where(), part=_part(""))

    async def _delta(self, kind: str, text: str) -> None:
        await self._send(kind, **self._where(), delta=text)

    async def _shut(self) -> None:
        """Close the open item and keep it for the last event."""
        kind, self._open = self._open, None
        if kind is None:
            return
        text = self._told.content if kind == "message" else self._told.thinking
        item, self_where = self._item(kind, text), self._where(kind)
        if kind == "message":
            await self._send("response.output_text.done", **self_where, text=text)
            await self._send("response.content_part.done", **self_where, part=_part(text))
        else:
            await self._send("response.reasoning_summary_text.done", **self_where, text=text)
        await self._send("response.output_item.done", output_index=len(self._output), item=item)
        self._output.append(item)

    def _where(self, kind: str | None = None) -> Json:
        kind = kind or self._open or "message"
        part = "summary_index" if kind == "reasoning" else "content_index"
        return {"item_id": self._item_id(kind), "output_index": len(self._output), part: 0}

    def _item_id(self, kind: str) -> str:
        return f"{'rs' if kind == 'reasoning' else 'msg'}_{self._number}"

    def _item(self, kind: str, text: str) -> Json:
        head = {"id": self._item_id(kind), "type": kind}
        if kind == "reasoning":
            return head | {"summary": [{"type": "summary_text", "text": text}]}
        return head | {"status": "completed", "role": "assistant", "content": [_part(text)]}

    def _function(self, made: Json) -> Json:
        function = made["function"]
        return {
            "id": f"fc_{made['id']}",
            "type": "function_call",
            "status": "completed",
            "call_id": made["id"],
            "name": function["name"],
            "arguments": dump(function["arguments"]).decode(),
        }

    def _response(self, status: str, final: Final | None = None) -> Json:
        usage = None
        if final is not None:
            usage = {
                "input_tokens": final.prompt_tokens,
                "output_tokens": final.tokens,
                "total_tokens": final.prompt_tokens + final.tokens,
                "input_tokens_details": {"cached_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
            }
        return {
            "id": f"resp_{self._number}",
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "model": self._sent,
            "output": list(self._output),
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            "temperature": 1.0,
            "top_p": 1.0,
            "metadata": {},
            "usage": usage,
        }


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": []}
