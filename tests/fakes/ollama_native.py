"""The native inference routes: generate, chat, embed, embeddings."""

import time
from contextlib import aclosing
from typing import Any

from aiohttp import web
from fakes import ollama_mind as mind
from fakes.faults import MidwayError
from fakes.ollama_generate import (
    Ask,
    Final,
    Piece,
    collect,
    context_of,
    keep_alive_of,
    last_said,
    logprobs_of,
    logprobs_wanted,
    need,
    need_completion,
    options_of,
    speak,
    think_of,
)
from fakes.ollama_json import Json, record, stamp
from fakes.ollama_models import FakeModel
from fakes.ollama_node import AnswerError, Call, installed, native_error

NDJSON = "application/x-ndjson"
_MISSING = "model '{name}' not found"
_MISSING_EMBED = 'model "{name}" not found, try pulling it first'
_COMMON = {
    "model": "string",
    "stream": "bool",
    "format": "any",
    "keep_alive": "any",
    "options": "object",
    "think": "any",
    "truncate": "bool",
    "shift": "bool",
    "logprobs": "bool",
    "top_logprobs": "any",
    "_debug_render_only": "bool",
}
GENERATE_FIELDS = _COMMON | {
    "prompt": "string",
    "suffix": "string",
    "system": "string",
    "template": "string",
    "context": "array",
    "raw": "bool",
    "images": "array",
}
CHAT_FIELDS = _COMMON | {"messages": "array", "tools": "array"}
EMBED_FIELDS = {
    "model": "string",
    "input": "any",
    "truncate": "bool",
    "dimensions": "any",
    "keep_alive": "any",
    "options": "object",
}
EMBEDDINGS_FIELDS = {
    "model": "string",
    "prompt": "string",
    "keep_alive": "any",
    "options": "object",
}


async def generate(call: Call) -> web.StreamResponse:
    """POST /api/generate."""
    fields = call.fields(GENERATE_FIELDS, "GenerateRequest")
    sent = fields.get("model", "")
    if not sent:
        raise AnswerError(404, _MISSING.format(name=sent))
    model = installed(call.node, sent, _MISSING)
    prompt, alive_s = fields.get("prompt", ""), keep_alive_of(fields.get("keep_alive"))
    blank: Json = {"response": ""}
    if not prompt and alive_s == 0:
        return await _unloaded(call, model, sent, blank)
    if fields.get("raw") and any(fields.get(key) for key in ("template", "system", "context")):
        raise AnswerError(400, "raw mode does not support template, system, or context")
    need_completion(model, sent, "generate")
    if fields.get("suffix"):
        need(model, "insert")
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=mind.count_tokens(f"{fields.get('system', '')} {prompt}"),
        options=options_of(fields),
        keep_alive_s=alive_s,
        think=think_of(fields, model, sent) and not fields.get("raw"),
        form=fields.get("format") or None,
    )
    if not prompt:
        return await _loaded(call, ask, sent, blank)
    if fields.get("_debug_render_only"):
        return await _rendered(call, ask, sent)
    return await _GenerateShape(call, ask, sent, fields).answer()


async def chat(call: Call) -> web.StreamResponse:
    """POST /api/chat."""
    fields = call.fields(CHAT_FIELDS, "ChatRequest")
    sent = fields.get("model", "")
    if not sent:
        raise AnswerError(400, "model is required")
    model = installed(call.node, sent, _MISSING)
    messages, alive_s = fields.get("messages", []), keep_alive_of(fields.get("keep_alive"))
    blank: Json = {"message": {"role": "assistant", "content": ""}}
    if not messages and alive_s == 0:
        return await _unloaded(call, model, sent, blank)
    need_completion(model, sent, "chat")
    tools = fields.get("tools", [])
    if tools:
        need(model, "tools")
    prompt, role, size = last_said(call, messages)
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=size,
        options=options_of(fields),
        keep_alive_s=alive_s,
        think=think_of(fields, model, sent),
        tools=[] if role == "tool" else tools,
        form=fields.get("format") or None,
    )
    if not messages:
        return await _loaded(call, ask, sent, blank)
    if fields.get("_debug_render_only"):
        return await _rendered(call, ask, sent)
    return await _ChatShape(call, ask, sent, fields).answer()


class _GenerateShape:
    """An answer in the records of /api/generate."""

    def __init__(self, call: Call, ask: Ask, sent: str, fields: Json) -> None:
        self._call = call
        self._ask = ask
        self._sent = sent
        self._streams = fields.get("stream", True)
        self._logprobs = logprobs_wanted(fields)
        self._keeps_context = not fields.get("raw")

    async def answer(self) -> web.StreamResponse:
        """Stream, or one object."""
        if self._streams:
            return await self._stream()
        whole, final = await collect(self._call.node, self._ask)
        piece = Piece(whole.content, whole.thinking, whole.tool_calls)
        head = _head(self._ask.model, self._sent) | self._said(piece)
        return await self._call.json(head | self._ended(final, whole.content))

    async def _stream(self) -> web.StreamResponse:
        writer, told = self._call.writer, ""
        try:
            async with aclosing(speak(self._call.node, self._ask)) as items:
                async for item in items:
                    if not writer.begun:
                        await writer.start(NDJSON)
                    head = _head(self._ask.model, self._sent)
                    if isinstance(item, Final):
                        line = head | self._said(Piece()) | self._ended(item, told)
                    else:
                        told += item.content
                        line = head | self._said(item) | {"done": False} | self._odds(item)
                    await writer.write(record(line))
            return await writer.finish()
        except MidwayError as error:
            if error.text is not None:
                await writer.write_past_fault(record(native_error(error.text)))
            return await writer.finish_past_fault()

    def _odds(self, piece: Piece) -> Json:
        if self._logprobs is None or not piece.content:
            return {}
        return {"logprobs": [logprobs_of(piece.content, self._logprobs)]}

    def _said(self, piece: Piece) -> Json:
        said: Json = {"response": piece.content}
        if piece.thinking:
            said["thinking"] = piece.thinking
        if piece.tool_calls:
            said["tool_calls"] = list(piece.tool_calls)
        return said

    def _ended(self, final: Final, told: str) -> Json:
        end: Json = {"done": True, "done_reason": final.done_reason}
        if self._keeps_context:
            end["context"] = context_of(self._ask, told)
        return end | final.metrics()


class _ChatShape(_GenerateShape):
    """An answer in the records of /api/chat."""

    def _said(self, piece: Piece) -> Json:
        message: Json = {"role": "assistant", "content": piece.content}
        if piece.thinking:
            message["thinking"] = piece.thinking
        if piece.tool_calls:
            message["tool_calls"] = list(piece.tool_calls)
        return {"message": message}

    def _ended(self, final: Final, told: str) -> Json:
        del told
        return {"done": True, "done_reason": final.done_reason} | final.metrics()


def _head(model: FakeModel, sent: str) -> Json:
    head: Json = {"model": sent}
    if model.remote_model:
        head |= {"remote_model": model.remote_model, "remote_host": model.remote_host}
    return head | {"created_at": stamp()}


async def _unloaded(call: Call, model: FakeModel, sent: str, blank: Json) -> web.StreamResponse:
    call.node.scheduler.expire(model)
    end = {"done": True, "done_reason": "unload"}
    return await call.json(_head(model, sent) | blank | end)


async def _loaded(call: Call, ask: Ask, sent: str, blank: Json) -> web.StreamResponse:
    async with call.node.scheduler.holding(ask.model, ask.options, ask.keep_alive_s):
        end = {"done": True, "done_reason": "load"}
        return await call.json(_head(ask.model, sent) | blank | end)


async def _rendered(call: Call, ask: Ask, sent: str) -> web.StreamResponse:
    async with call.node.scheduler.holding(ask.model, ask.options, ask.keep_alive_s):
        info = {"rendered_template": f"<user>{ask.prompt}<assistant>", "image_count": 0}
        head = _head(ask.model, sent)
        return await call.json(head | {"response": "", "done": False, "_debug_info": info})


async def embed(call: Call) -> web.StreamResponse:
    """POST /api/embed."""
    fields = call.fields(EMBED_FIELDS, "EmbedRequest")
    texts = inputs_of(fields.get("input"))
    sent = fields.get("model", "")
    model = installed(call.node, sent, _MISSING_EMBED)
    began = time.monotonic_ns()
    vectors, tokens, load_ns = await embedded(call, model, texts, fields)
    answer: Json = {
        "model": sent,
        "embeddings": vectors,
        "total_duration": time.monotonic_ns() - began,
        "load_duration": load_ns,
    }
    return await call.json(answer | ({"prompt_eval_count": tokens} if tokens else {}))


async def embeddings(call: Call) -> web.StreamResponse:
    """POST /api/embeddings, the old one."""
    fields = call.fields(EMBEDDINGS_FIELDS, "EmbeddingRequest")
    model = installed(call.node, fields.get("model", ""), _MISSING_EMBED)
    texts = inputs_of(fields.get("prompt") or None)
    vectors, _, _ = await embedded(call, model, texts, fields)
    return await call.json({"embedding": vectors[0] if vectors else []})


def inputs_of(value: Any) -> list[str]:
    """The texts to embed."""
    if value is None or value == "":
        return []
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(text, str) for text in value):
        return value
    raise AnswerError(400, "invalid input type")


async def embedded(
    call: Call, model: FakeModel, texts: list[str], fields: Json
) -> tuple[list[list[float]], int, int]:
    """The vectors, the number of tokens read, and the load time."""
    node, length = call.node, model.embedding_length
    sizes = [mind.count_tokens(text) for text in texts]
    if fields.get("truncate") is False and max(sizes, default=0) > model.context_length:
        raise AnswerError(400, "the input length exceeds the context length")
    wanted = fields.get("dimensions") or 0
    if type(wanted) is not int:
        text = "json: cannot unmarshal into Go struct field EmbedRequest.dimensions of type int"
        raise AnswerError(400, text)
    if 0 < wanted < length:
        length = wanted
    alive_s = keep_alive_of(fields.get("keep_alive"))
    async with node.scheduler.using(model, options_of(fields), alive_s) as (_, load_ns):
        await node.pause(sum(sizes), node.speed.prompt_tokens_per_s)
        return [mind.vector(model.digest, text, length) for text in texts], sum(sizes), load_ns
