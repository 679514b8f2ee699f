"""What a fake model says: deterministic text, thoughts, tool calls, JSON and vectors.

A prompt may steer it: "200 words" makes an answer of 200 tokens; with tools in the request a
prompt that names a tool (or says "tool" or "weather") makes a tool call.
"""

import hashlib
import json
import math
import re
import struct
from dataclasses import dataclass, field
from typing import Any

from fakes.ollama_json import Json

_COUNT = re.compile(r"\b(\d{1,6})\s+(?:words|tokens)\b")
_PLACE = re.compile(r"\bin ([A-Z]\w+)")
_DEEPEST = 12


@dataclass(frozen=True, slots=True)
class Thought:
    """What a model is going to say, cut into tokens."""

    thinking: tuple[str, ...] = ()
    content: tuple[str, ...] = ()
    tool_calls: tuple[Json, ...] = field(default=())


def tokens_of(text: str) -> tuple[str, ...]:
    """Words with their leading space: joined they are the text again."""
    return tuple(re.findall(r"\s*\S+|\s+$", text))


def count_tokens(text: str) -> int:
    """How many tokens a prompt has, at least one."""
    return max(1, len(text.split()))


def answer(node: str, model: str, prompt: str, reply: str | None) -> tuple[str, ...]:
    """The tokens of a plain answer."""
    if reply is not None:
        return tokens_of(reply)
    if found := _COUNT.search(prompt):
        return tuple(f" word{number}"[number == 1 :] for number in range(1, int(found[1]) + 1))
    heard = " ".join(prompt.split()[-16:])
    return tokens_of(f"I am {model} on {node}. You said: {heard}")


def thoughts(prompt: str) -> tuple[str, ...]:
    """The tokens of a reasoning before the answer."""
    return tokens_of(f"The user wrote {len(prompt)} characters. I shall answer briefly.")


def tool_call(tools: list[Any], prompt: str, index: int = 0) -> Json | None:
    """The call that the prompt asks for, or None."""
    functions = [tool["function"] for tool in tools if _is_function(tool)]
    low = prompt.lower()
    for function in functions:
        name = function["name"]
        spoken = name.replace("_", " ").lower()
        if name.lower() in low or spoken in low or "tool" in low or "weather" in low:
            arguments = sample(function.get("parameters") or {}, prompt)
            call_id = f"call_{hashlib.sha256((name + prompt).encode()).hexdigest()[:8]}"
            return {
                "id": call_id,
                "function": {
                    "index": index,
                    "name": name,
                    "arguments": arguments if isinstance(arguments, dict) else {},
                },
            }
    return None


def _is_function(tool: Any) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("function"), dict)


def structured(wanted: Any, prompt: str) -> tuple[str, ...]:
    """JSON text that satisfies `format`, as tokens."""
    value = {"answer": prompt[:40]} if wanted == "json" else sample(wanted, prompt)
    text = json.dumps(value, ensure_ascii=False, separators=(", ", ": "))
    return tuple(text[start : start + 6] for start in range(0, len(text), 6))


def sample(schema: Any, prompt: str, depth: int = 0) -> Any:
    """The smallest value that satisfies the usual parts of a JSON schema."""
    if not isinstance(schema, dict) or depth > _DEEPEST:
        return None
    given = [schema[key] for key in ("const", "enum", "anyOf", "oneOf", "allOf") if key in schema]
    if "const" in schema:
        return given[0]
    if given:
        return given[0][0] if "enum" in schema else sample(given[0][0], prompt, depth + 1)
    kind = schema.get("type", "object" if "properties" in schema else "string")
    return _of_kind(kind[0] if isinstance(kind, list) else kind, schema, prompt, depth)


def _of_kind(kind: str, schema: Json, prompt: str, depth: int) -> Any:
    if kind == "object":
        properties = schema.get("properties") or {}
        return {name: sample(part, prompt, depth + 1) for name, part in properties.items()}
    if kind == "array":
        return [sample(schema.get("items") or {}, prompt, depth + 1)]
    place = _PLACE.search(prompt)
    scalars = {"integer": 7, "number": 1.5, "boolean": True, "null": None}
    return scalars.get(kind, place[1] if place else "value")


def vector(digest: str, text: str, length: int) -> list[float]:
    """A unit vector that depends on the weights and the text only."""
    size = -(-length // 8)
    raw = b"".join(
        hashlib.sha256(f"{digest}|{text}|{block}".encode()).digest() for block in range(size)
    )
    numbers = struct.unpack(f"<{length}i", raw[: 4 * length])
    norm = math.sqrt(sum(number * number for number in numbers)) or 1.0
    # Rounded through float32, as the node's own answers are.
    return list(
        struct.unpack(
            f"<{length}f", struct.pack(f"<{length}f", *(number / norm for number in numbers))
        )
    )
