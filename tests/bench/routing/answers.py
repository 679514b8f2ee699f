"""What a simulated node says: the four forms of an answer, and what a request asks for.

Only what clients and proxies read: text, the end, and the numbers of the last record. An old node
is copied, which does not say how many tokens of a prompt it had cached.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Final

from routing.scenarios import BLOCK_TOKENS, text_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from routing.runner import Record
    from routing.scenarios import Request

TOKEN_BYTES: Final = 4  # of the text of `scenarios.text_of`
UNKNOWN_OUTPUT: Final = 16  # tokens of the answer to a prompt that is in no scenario
CREATED_AT: Final = "2026-01-01T00:00:00Z"
RESIDENT_S: Final = 0.005  # what a node says it took to find a model in memory


@dataclass(frozen=True, slots=True)
class Ask:
    """A request as a node reads it."""

    number: int | None
    model: str
    tokens: int
    blocks: tuple[int, ...]
    whole: tuple[int, ...]
    answer: str
    num_ctx: int | None
    is_embedding: bool
    is_streamed: bool
    wants_usage: bool

    @property
    def output(self) -> int:
        """Tokens of the answer."""
        return 0 if self.is_embedding else len(self.answer) // TOKEN_BYTES


@cache
def piece_text(piece: tuple[int, int]) -> str:
    """The text of one piece of a prompt; histories repeat them."""
    return text_of((piece,))


class Book:
    """Which prompt gets which answer: nothing but the text tells a node who is asking."""

    def __init__(self, requests: Iterable[Request]) -> None:
        self._known = {_mark("".join(map(piece_text, r.prompt))): r for r in requests}

    def read(self, path: str, body: dict[str, Any]) -> Ask:
        """What a request asks for; KeyError or TypeError when it is none."""
        text = _text(body)
        request = self._known.get(_mark(text))
        output = ((0, UNKNOWN_OUTPUT),) if request is None else (request.answer,)
        is_embedding = path.endswith(("/embed", "/embeddings"))
        answer = "" if is_embedding else "".join(map(piece_text, output))
        is_native = path.startswith("/api/")
        return Ask(
            number=None if request is None else request.number,
            model=str(body["model"]).removesuffix(":latest"),
            tokens=max(1, len(text) // TOKEN_BYTES),
            blocks=_blocks(text),
            whole=_blocks(text + answer),
            answer=answer,
            num_ctx=(body.get("options") or {}).get("num_ctx") if is_native else None,
            is_embedding=is_embedding,
            is_streamed=bool(body.get("stream", is_native)) and not is_embedding,
            wants_usage=bool((body.get("stream_options") or {}).get("include_usage")),
        )


class Native:
    """/api/chat and /api/generate."""

    content_type = "application/x-ndjson"

    def __init__(self, ask: Ask, *, is_chat: bool) -> None:
        self.ask, self.is_chat = ask, is_chat

    def piece(self, text: str) -> bytes:
        """Some tokens."""
        return _line({**self._said(text), "done": False})

    def end(self, record: Record) -> bytes:
        """The last record."""
        return _line({**self._said(""), **_numbers(record)})

    def whole(self, record: Record) -> bytes:
        """The answer to who does not want a stream."""
        return _line({**self._said(self.ask.answer), **_numbers(record)})

    def _said(self, text: str) -> dict[str, Any]:
        said = {"message": {"role": "assistant", "content": text}}
        return {
            "model": self.ask.model,
            "created_at": CREATED_AT,
            **(said if self.is_chat else {"response": text}),
        }


class OpenAI:
    """/v1/chat/completions."""

    content_type = "text/event-stream"

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def piece(self, text: str) -> bytes:
        """Some tokens."""
        return self._event([self._delta({"role": "assistant", "content": text}, None)])

    def end(self, record: Record) -> bytes:
        """The last words, as Ollama says them: usage only to who asked for it."""
        last = self._event([self._delta({"role": "assistant", "content": ""}, "stop")])
        usage = self._event([], usage=_usage(record)) if self.ask.wants_usage else b""
        return last + usage + b"data: [DONE]\n\n"

    def whole(self, record: Record) -> bytes:
        """The answer to who does not want a stream."""
        message = {"role": "assistant", "content": self.ask.answer}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        said = {**self._head("chat.completion"), "choices": [choice], "usage": _usage(record)}
        return _line(said)

    def _head(self, kind: str) -> dict[str, Any]:
        return {"id": "chatcmpl-1", "object": kind, "created": 0, "model": self.ask.model}

    def _delta(self, delta: dict[str, str], reason: str | None) -> dict[str, Any]:
        return {"index": 0, "delta": delta, "finish_reason": reason}

    def _event(self, choices: list[dict[str, Any]], **more: object) -> bytes:
        said = {**self._head("chat.completion.chunk"), "choices": choices, **more}
        return b"data: " + json.dumps(said).encode() + b"\n\n"


class Vectors:
    """/api/embed."""

    content_type = "application/json"

    def __init__(self, ask: Ask) -> None:
        self.ask = ask

    def whole(self, record: Record) -> bytes:
        """One vector, however short."""
        said = {"model": self.ask.model, "embeddings": [[0.1, 0.2]]}
        times = _numbers(record)
        kept = ("total_duration", "load_duration", "prompt_eval_count")
        return _line({**said, **{name: times[name] for name in kept}})


def form_of(path: str, ask: Ask) -> Native | OpenAI | Vectors:
    """How a route answers."""
    if ask.is_embedding:
        return Vectors(ask)
    return OpenAI(ask) if path.startswith("/v1/") else Native(ask, is_chat=path == "/api/chat")


def _text(body: dict[str, Any]) -> str:
    if "messages" in body:
        return "".join(_words(message["content"]) for message in body["messages"])
    return str(body.get("prompt") or body["input"])


def _words(content: str | list[dict[str, Any]]) -> str:
    """A proxy may send a text as a list of parts."""
    if isinstance(content, str):
        return content
    return "".join(part["text"] for part in content)


def _mark(text: str) -> bytes:
    return blake2b(text.encode(), digest_size=16).digest()


def _blocks(text: str) -> tuple[int, ...]:
    """Chained hashes of whole blocks, as a cache of prompts knows a text."""
    step, chain, found = BLOCK_TOKENS * TOKEN_BYTES, 1, []
    for start in range(0, len(text) - step + 1, step):
        chain = hash((chain, text[start : start + step]))
        found.append(chain)
    return tuple(found)


def _numbers(record: Record) -> dict[str, Any]:
    return {
        "done": True,
        "done_reason": "stop",
        "total_duration": _ns(record.total_s + RESIDENT_S),
        "load_duration": _ns(record.load_s + RESIDENT_S),
        "prompt_eval_count": record.prompt_tokens,
        "prompt_eval_duration": _ns(record.prompt_s),
        "eval_count": record.eval_tokens,
        "eval_duration": _ns(record.eval_s),
    }


def _usage(record: Record) -> dict[str, int]:
    return {
        "prompt_tokens": record.prompt_tokens,
        "completion_tokens": record.eval_tokens,
        "total_tokens": record.prompt_tokens + record.eval_tokens,
    }


def _ns(seconds: float) -> int:
    return round(seconds * 1e9)


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"
