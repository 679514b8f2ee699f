"""LiteLLM as a client, by each of the three ways in which it can be pointed at an Ollama server."""

import json
from typing import Any

from steps import main, stay_on_this_machine

stay_on_this_machine()

import litellm  # noqa: E402 - only now it cannot fetch anything

litellm.num_retries = 0
HELLO = [{"role": "user", "content": "hello"}]
WORDS = [{"role": "user", "content": "5 words"}]
WHERE = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": WHERE}}


def _native(address: str, model: str = "llama3.2", **more: Any) -> Any:
    return litellm.completion(f"ollama_chat/{model}", api_base=address, **more)


def _openai(address: str, model: str = "llama3.2", **more: Any) -> Any:
    base = f"{address}/v1"
    return litellm.completion(f"openai/{model}", api_base=base, api_key="any", **more)


def _anthropic(address: str, model: str = "llama3.2", **more: Any) -> Any:
    return litellm.completion(f"anthropic/{model}", api_base=address, api_key="any", **more)


def _texts(stream: Any) -> list[str]:
    return [choice.delta.content or "" for chunk in stream for choice in chunk.choices]


def native_chats(address: str) -> Any:
    answer = _native(address, messages=HELLO)
    return [answer.choices[0].message.content, answer.usage.completion_tokens]


def native_streams(address: str) -> Any:
    return "".join(_texts(_native(address, messages=WORDS, stream=True)))


def native_calls_a_tool(address: str) -> Any:
    asked = [{"role": "user", "content": "weather in Rome?"}]
    (call,) = _native(address, messages=asked, tools=[TOOL]).choices[0].message.tool_calls
    return [call.function.name, json.loads(call.function.arguments)]


def native_obeys_a_schema(address: str) -> Any:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    form = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
    answer = _native(address, messages=HELLO, response_format=form)
    return json.loads(answer.choices[0].message.content)


def native_thinks(address: str) -> Any:
    answer = _native(address, "qwen3:8b", messages=HELLO)
    return answer.choices[0].message.reasoning_content


def native_generates(address: str) -> Any:
    answer = litellm.completion("ollama/llama3.2", api_base=address, messages=WORDS)
    return answer.choices[0].message.content


def native_embeds(address: str) -> Any:
    made = litellm.embedding("ollama/nomic-embed-text", api_base=address, input=["one", "two"])
    return [len(one["embedding"]) for one in made.data]


def native_does_not_find(address: str) -> Any:
    return _native(address, "gone", messages=HELLO)


def native_breaks(address: str) -> Any:
    return _texts(_native(address, "fragile", messages=WORDS, stream=True))


def openai_chats(address: str) -> Any:
    return _openai(address, messages=WORDS).choices[0].message.content


def openai_streams(address: str) -> Any:
    return "".join(_texts(_openai(address, messages=WORDS, stream=True)))


def openai_does_not_find(address: str) -> Any:
    return _openai(address, "gone", messages=HELLO)


def openai_breaks(address: str) -> Any:
    return _texts(_openai(address, "fragile", messages=WORDS, stream=True))


def anthropic_chats(address: str) -> Any:
    return _anthropic(address, messages=WORDS, max_tokens=99).choices[0].message.content


def anthropic_streams(address: str) -> Any:
    return "".join(_texts(_anthropic(address, messages=WORDS, max_tokens=99, stream=True)))


def anthropic_does_not_find(address: str) -> Any:
    return _anthropic(address, "gone", messages=HELLO, max_tokens=9)


def anthropic_breaks(address: str) -> Any:
    return _texts(_anthropic(address, "fragile", messages=WORDS, max_tokens=99, stream=True))


main(
    *(native_chats, native_streams, native_calls_a_tool, native_obeys_a_schema, native_thinks),
    *(native_generates, native_embeds, native_does_not_find, native_breaks),
    *(openai_chats, openai_streams, openai_does_not_find, openai_breaks),
    *(anthropic_chats, anthropic_streams, anthropic_does_not_find, anthropic_breaks),
)
