"""Generation behind every dialect: an ask becomes pieces of an answer and then a final record."""

import re
import time
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from fakes import ollama_mind as mind
from fakes.ollama_json import Json
from fakes.ollama_models import FakeModel
from fakes.ollama_node import AnswerError, Call, Node

_WHOLE_OPTIONS = (
    *("num_ctx", "num_batch", "num_gpu", "main_gpu", "num_thread", "num_keep", "seed"),
    *("num_predict", "top_k", "repeat_last_n", "draft_num_predict"),
)
_NUMBER_OPTIONS = (
    *("top_p", "min_p", "typical_p", "temperature", "repeat_penalty"),
    *("presence_penalty", "frequency_penalty"),
)
_LEVELS = {"low", "medium", "high", "max"}
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|ms|s|m|h)")
_MOST_LOGPROBS = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants generated, whatever the dialect."""

    model: FakeModel
    prompt: str
    prompt_tokens: int
    options: Json = field(default_factory=dict)
    keep_alive_s: float | None = None
    think: bool = False
    tools: list[Any] = field(default_factory=list)
    form: Any = None


@dataclass(frozen=True, slots=True)
class Piece:
    """One record of the answer."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True)
class Final:
    """The end of an answer."""

    done_reason: str
    total_ns: int
    load_ns: int
    prompt_tokens: int
    prompt_ns: int
    tokens: int
    eval_ns: int

    def metrics(self) -> Json:
        """The metrics of a final record."""
        return {
            "total_duration": self.total_ns,
            "load_duration": self.load_ns,
            "prompt_eval_count": self.prompt_tokens,
            "prompt_eval_duration": self.prompt_ns,
            "eval_count": self.tokens,
            "eval_duration": self.eval_ns,
        }


@dataclass(slots=True)
class Collected:
    """A whole answer, for the requests that do not stream."""

    content: str = ""
    thinking: str = ""
    tool_calls: tuple[Json, ...] = ()

    def add(self, piece: Piece) -> None:
        """One more piece."""
        self.content += piece.content
        self.thinking += piece.thinking
        self.tool_calls += piece.tool_calls


async def speak(node: Node, ask: Ask) -> AsyncGenerator[Piece | Final, None]:
    """Wait for the model and a slot, then one piece a token, then the final."""
    began = time.monotonic_ns()
    using = node.scheduler.using(ask.model, ask.options, ask.keep_alive_s)
    async with using as (_, load_ns):
        read = time.monotonic_ns()
        await node.pause(ask.prompt_tokens, node.speed.prompt_tokens_per_s)
        wrote = time.monotonic_ns()
        pieces, reason = _planned(node, ask)
        for number, piece in enumerate(pieces, 1):
            due_s = number / node.speed.tokens_per_s if node.speed.tokens_per_s > 0 else 0.0
            late_s = (time.monotonic_ns() - wrote) / 1e9
            await node.pause(1, 1 / (due_s - late_s) if due_s > late_s else 0)
            yield piece
        ended = time.monotonic_ns()
        yield Final(
            done_reason=reason,
            total_ns=ended - began,
            load_ns=load_ns,
            prompt_tokens=ask.prompt_tokens,
            prompt_ns=max(wrote - read, 1),
            tokens=len(pieces),
            eval_ns=max(ended - wrote, 1),
        )


async def collect(node: Node, ask: Ask) -> tuple[Collected, Final]:
    """The whole answer."""
    whole = Collected()
    async with aclosing(speak(node, ask)) as items:
        async for item in items:
            if isinstance(item, Final):
                return whole, item
            whole.add(item)
    message = "speak() ends with a final"
    raise AssertionError(message)


def _planned(node: Node, ask: Ask) -> tuple[list[Piece], str]:
    pieces = [Piece(thinking=token) for token in mind.thoughts(ask.prompt)] if ask.think else []
    call = mind.tool_call(ask.tools, ask.prompt) if ask.tools else None
    if call is not None:
        pieces.append(Piece(tool_calls=(call,)))
        return pieces, "stop"
    if ask.form:
        spoken = mind.structured(ask.form, ask.prompt)
    else:
        spoken = mind.answer(node.name, ask.model.name, ask.prompt, ask.model.reply)
    pieces += [Piece(content=token) for token in _until_stop(spoken, ask.options.get("stop"))]
    most = ask.options.get("num_predict", -1)
    if 0 < most < len(pieces):
        return pieces[:most], "length"
    return pieces, "stop"


def _until_stop(tokens: tuple[str, ...], stops: Any) -> tuple[str, ...]:
    text = "".join(tokens)
    ends = [at for stop in stops or () if (at := text.find(stop)) >= 0]
    return mind.tokens_of(text[: min(ends)]) if ends else tokens


def context_of(ask: Ask, whole: str) -> list[int]:
    """The `context` of a final generate record: a number for each word of prompt and answer."""
    return [zlib.crc32(word.encode()) % 128_000 for word in f"{ask.prompt} {whole}".split()]


def logprobs_of(token: str, most: int) -> Json:
    """The log probability of one token, and of its alternatives."""
    entry: Json = {"token": token, "logprob": -0.25, "bytes": list(token.encode())}
    if most:
        others = [
            {"token": f"{token}{number}"[: len(token) + 1], "logprob": -0.25 - number}
            for number in range(most)
        ]
        entry["top_logprobs"] = others
    return entry


def keep_alive_of(value: Any) -> float | None:
    """Seconds, negative for ever; None leaves the runner as it is."""
    if value is None:
        return None
    if isinstance(value, bool):
        raise AnswerError(400, "Unsupported type for keep_alive")
    if isinstance(value, int | float):
        return float(value)
    if value == "0":
        return 0.0
    if not isinstance(value, str) or _DURATION.sub("", value) or not value:
        missing = isinstance(value, str) and re.fullmatch(r"[+-]?[\d.]+", value)
        what = "missing unit in" if missing else "invalid"
        raise AnswerError(400, f'time: {what} duration "{value}"')
    sign = -1 if value.startswith("-") else 1
    parts = re.findall(r"([\d.]+)(ns|us|µs|ms|s|m|h)", value)
    return sign * sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def options_of(fields: Json) -> Json:
    """The options, with the node's complaint (a 500) when a type is wrong."""
    options = {key: value for key, value in fields.get("options", {}).items() if value is not None}
    for key in _WHOLE_OPTIONS:
        value = options.get(key, 0)
        if isinstance(value, float) and value.is_integer():
            options[key] = int(value)
        elif type(value) is not int:
            raise AnswerError(500, f'option "{key}" must be of type integer')
    for key in _NUMBER_OPTIONS:
        if type(options.get(key, 0)) not in {int, float}:
            raise AnswerError(500, f'option "{key}" must be of type float32')
    stop = options.get("stop", [])
    if not isinstance(stop, list) or not all(isinstance(text, str) for text in stop):
        raise AnswerError(500, 'option "stop" must be of type array')
    return options


def think_of(fields: Json, model: FakeModel, sent: str) -> bool:
    """Whether to think: on by default where the model can, refused where it cannot."""
    wanted = fields.get("think")
    if wanted is not None and type(wanted) is not bool and wanted not in _LEVELS:
        levels = '"high", "medium", "low", "max", true, or false'
        raise AnswerError(400, f'invalid think value: "{wanted}" (must be {levels})')
    able = "thinking" in model.capabilities
    if wanted and not able:
        raise AnswerError(400, f'"{sent}" does not support thinking')
    return able if wanted is None else bool(wanted)


def need(model: FakeModel, capability: str) -> None:
    """A capability that the request cannot do without."""
    if capability not in model.capabilities:
        raise AnswerError(400, f"{model.key} does not support {capability}")


def need_completion(model: FakeModel, sent: str, verb: str) -> None:
    """An embedding-only model neither chats nor generates."""
    if "completion" not in model.capabilities:
        raise AnswerError(400, f'"{sent}" does not support {verb}')


def logprobs_wanted(fields: Json) -> int | None:
    """None for no log probabilities, else how many alternatives a token."""
    most = fields.get("top_logprobs", 0)
    if type(most) is not int or not 0 <= most <= _MOST_LOGPROBS:
        raise AnswerError(400, "top_logprobs must be between 0 and 20")
    return most if fields.get("logprobs") else None


def text_of(content: Any) -> str:
    """A message's content as text: a string, or the texts and tool results of a list."""
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    texts = [
        text_of(part["content"]) if part.get("type") == "tool_result" else str(part.get("text", ""))
        for part in parts
        if isinstance(part, dict)
    ]
    return " ".join(texts).strip()


def last_said(call: Call, messages: list[Any]) -> tuple[str, str, int]:
    """The last message's text and role, and the size of the whole prompt in tokens."""
    texts: list[tuple[str, str]] = []
    for message in messages:
        if not isinstance(message, dict):
            raise AnswerError(400, f"json: cannot unmarshal into Go value of type {call.path}")
        low = {key.casefold(): value for key, value in message.items()}
        texts.append((text_of(low.get("content")), str(low.get("role", "")).lower()))
    text, role = texts[-1] if texts else ("", "")
    return text, role, mind.count_tokens(" ".join(text for text, _ in texts))
