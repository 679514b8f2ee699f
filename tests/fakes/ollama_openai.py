"""The OpenAI-compatible routes: chat completions, completions, embeddings, models."""

import base64
import struct
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
    logprobs_of,
    logprobs_wanted,
    need,
    need_completion,
    speak,
)
from fakes.ollama_json import Json, dump, event
from fakes.ollama_models import FakeModel
from fakes.ollama_native import embedded, inputs_of
from fakes.ollama_node import AnswerError, Call, installed

SSE = "text/event-stream"
_MISSING = "model '{name}' not found"
_MISSING_EMBED = 'model "{name}" not found, try pulling it first'
_COMMON = {
    "model": "string",
    "stream": "bool",
    "stream_options": "object",
    "max_tokens": "any",
    "seed": "any",
    "stop": "any",
    "temperature": "any",
    "top_p": "any",
}
_CHAT = _COMMON | {
    "messages": "array",
    "tools": "array",
    "response_format": "object",
    "reasoning": "object",
    "reasoning_effort": "any",
    "logprobs": "bool",
    "top_logprobs": "any",
}
_COMPLETION = _COMMON | {"prompt": "string", "suffix": "string"}
_EMBEDDING = {
    "model": "string",
    "input": "any",
    "dimensions": "any",
    "encoding_format": "string",
}


def limits_of(fields: Json, most: str = "max_tokens") -> Json:
    """The native options behind the compatible fields."""
    options: Json = {}
    if isinstance(fields.get(most), int):
        options["num_predict"] = fields[most]
    stop = fields.get("stop") or fields.get("stop_sequences")
    if stop:
        options["stop"] = [stop] if isinstance(stop, str) else list(stop)
    return options


def thinks(model: FakeModel, effort: Any) -> bool:
    """Compatible routes think wherever the model can, unless the effort is none."""
    return "thinking" in model.capabilities and effort != "none"


async def chat(call: Call) -> web.StreamResponse:
    """POST /v1/chat/completions."""
    fields = call.fields(_CHAT, "ChatCompletionRequest")
    messages = fields.get("messages", [])
    if not messages:
        raise AnswerError(400, "[] is too short - 'messages'")
    sent = fields.get("model", "")
    if not sent:
        raise AnswerError(400, "model is required")
    model = installed(call.node, sent, _MISSING)
    need_completion(model, sent, "chat")
    if fields.get("tools"):
        need(model, "tools")
    prompt, role, size = last_said(call, messages)
    effort = fields.get("reasoning", {}).get("effort") or fields.get("reasoning_effort")
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=size,
        options=limits_of(fields),
        think=thinks(model, effort),
        tools=[] if role == "tool" else fields.get("tools", []),
        form=_form_of(fields.get("response_format")),
    )
    return await _Shape(call, ask, sent, fields).answer()


async def completions(call: Call) -> web.StreamResponse:
    """POST /v1/completions."""
    fields = call.fields(_COMPLETION, "CompletionRequest")
    sent, prompt = fields.get("model", ""), fields.get("prompt", "")
    model = installed(call.node, sent, _MISSING) if sent else None
    if model is None:
        raise AnswerError(404, _MISSING.format(name=sent))
    need_completion(model, sent, "generate")
    if fields.get("suffix"):
        need(model, "insert")
    ask = Ask(
        model=model,
        prompt=prompt,
        prompt_tokens=mind.count_tokens(prompt),
        options=limits_of(fields),
    )
    return await _TextShape(call, ask, sent, fields).answer()


def _form_of(wanted: Json | None) -> Any:
    if not wanted or wanted.get("type") == "text":
        return None
    if wanted.get("type") == "json_schema":
        return (wanted.get("json_schema") or {}).get("schema")
    return "json"


class _Shape:
    """A chat completion, whole or in frames."""

    kind = "chat.completion"
    frame_kind = "chat.completion.chunk"
    prefix = "chatcmpl"

    def __init__(self, call: Call, ask: Ask, sent: str, fields: Json) -> None:
        self._call = call
        self._ask = ask
        self._sent = sent
        self._streams = fields.get("stream", False)
        self._wants_usage = bool(fields.get("stream_options", {}).get("include_usage"))
        self._logprobs = logprobs_wanted(fields)
        # As the node does it: three digits, not unique.
        self._id = f"{self.prefix}-{zlib.crc32(ask.prompt.encode()) % 999}"
        self._called = False

    async def answer(self) -> web.StreamResponse:
        """Stream, or one object."""
        if self._streams:
            return await self._stream()
        whole, final = await collect(self._call.node, self._ask)
        self._called = bool(whole.tool_calls)
        choice = self._whole(whole) | {"finish_reason": self._reason(final)}
        head = self._head(self.kind) | {"choices": [{"index": 0} | choice]}
        return await self._call.json(head | {"usage": _usage(final)})

    async def _stream(self) -> web.StreamResponse:
        writer = self._call.writer
        try:
            async with aclosing(speak(self._call.node, self._ask)) as items:
                async for item in items:
                    if not writer.begun:
                        await writer.start(SSE)
                    if isinstance(item, Final):
                        await self._end(item)
                    else:
                        await writer.write(self._frame(self._delta(item)))
            return await writer.finish()
        except MidwayError as error:
            if error.text is not None:
                # The node loses the text here: its writer reads the error as an empty answer.
                self._sent = ""
                await writer.write_past_fault(self._frame(self._delta(Piece())))
            return await writer.finish_past_fault()

    async def _end(self, final: Final) -> None:
        writer = self._call.writer
        await writer.write(self._frame(self._last(), self._reason(final)))
        if self._wants_usage:
            frame = self._head(self.frame_kind) | {"choices": [], "usage": _usage(final)}
            await writer.write(event(frame))
        await writer.write(b"data: [DONE]\n\n")

    def _frame(self, part: Json, reason: str | None = None) -> bytes:
        choice = {"index": 0} | part | {"finish_reason": reason}
        return event(self._head(self.frame_kind) | {"choices": [choice]})

    def _head(self, kind: str) -> Json:
        head = {"id": self._id, "object": kind, "created": int(time.time()), "model": self._sent}
        return head | {"system_fingerprint": "fp_ollama"}

    def _reason(self, final: Final) -> str:
        return "tool_calls" if self._called else final.done_reason

    def _delta(self, piece: Piece) -> Json:
        delta: Json = {"role": "assistant", "content": piece.content}
        if piece.thinking:
            delta["reasoning"] = piece.thinking
        if piece.tool_calls:
            self._called = True
            delta["tool_calls"] = [_openai_call(made) for made in piece.tool_calls]
        part: Json = {"delta": delta}
        if self._logprobs is not None and piece.content:
            part["logprobs"] = {"content": [logprobs_of(piece.content, self._logprobs)]}
        return part

    def _last(self) -> Json:
        return {"delta": {}}

    def _whole(self, whole: Collected) -> Json:
        message: Json = {"role": "assistant", "content": whole.content}
        if whole.thinking:
            message["reasoning"] = whole.thinking
        if whole.tool_calls:
            message["tool_calls"] = [_openai_call(made) for made in whole.tool_calls]
        part: Json = {"message": message}
        if self._logprobs is not None:
            tokens = mind.tokens_of(whole.content)
            entries = [logprobs_of(token, self._logprobs) for token in tokens]
            part["logprobs"] = {"content": entries}
        return part


class _TextShape(_Shape):
    """A text completion."""

    kind = "text_completion"
    frame_kind = "text_completion"
    prefix = "cmpl"

    def _delta(self, piece: Piece) -> Json:
        return {"text": piece.content}

    def _last(self) -> Json:
        return {"text": ""}

    def _whole(self, whole: Collected) -> Json:
        return {"text": whole.content}


def _openai_call(made: Json) -> Json:
    function = made["function"]
    return {
        "id": made["id"],
        "index": function["index"],
        "type": "function",
        "function": {
            "name": function["name"],
            "arguments": dump(function["arguments"]).decode(),
        },
    }


def _usage(final: Final) -> Json:
    return {
        "prompt_tokens": final.prompt_tokens,
        "completion_tokens": final.tokens,
        "total_tokens": final.prompt_tokens + final.tokens,
    }


async def embeddings(call: Call) -> web.StreamResponse:
    """POST /v1/embeddings."""
    fields = call.fields(_EMBEDDING, "EmbedRequest")
    encoding = fields.get("encoding_format", "float")
    if encoding not in {"float", "base64"}:
        raise AnswerError(400, "Invalid encoding_format. Supported: 'float', 'base64'")
    texts = inputs_of(fields.get("input"))
    if not texts:
        raise AnswerError(400, "invalid input")
    sent = fields.get("model", "")
    model = installed(call.node, sent, _MISSING_EMBED)
    vectors, tokens, _ = await embedded(call, model, texts, fields)
    data = [
        {"object": "embedding", "embedding": _encoded(vector, encoding), "index": index}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return await call.json({"object": "list", "data": data, "model": sent, "usage": usage})


def _encoded(vector: list[float], encoding: str) -> list[float] | str:
    if encoding == "float":
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def models(call: Call) -> web.StreamResponse:
    """GET /v1/models; without models `data` is null."""
    found = [_listed(model) for model in call.node.library.newest_first()]
    return await call.json({"object": "list", "data": found or None})


async def model_one(call: Call) -> web.StreamResponse:
    """GET /v1/models/:model."""
    return await call.json(_listed(installed(call.node, call.tail, _MISSING)))


def _listed(model: FakeModel) -> Json:
    owner = model.key.split("/")[-2]
    created = int(model.modified_at)
    return {"id": model.name, "object": "model", "created": created, "owned_by": owner}
