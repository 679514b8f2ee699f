"""LlamaIndex's Ollama package."""

from typing import Any

from steps import main, stay_on_this_machine

stay_on_this_machine()

from llama_index.core.llms import ChatMessage, ImageBlock, TextBlock  # noqa: E402
from llama_index.core.prompts import PromptTemplate  # noqa: E402
from llama_index.core.tools import FunctionTool  # noqa: E402
from llama_index.llms.ollama import Ollama  # noqa: E402
from pydantic import BaseModel  # noqa: E402

IMAGE = bytes(range(256)) * 100


class Number(BaseModel):
    """What the model shall fill in."""

    n: int


def get_weather(city: str) -> str:
    """Tell the weather in a city."""
    return f"rain in {city}"


def _llm(address: str, model: str = "llama3.2", **more: Any) -> Ollama:
    return Ollama(model=model, base_url=address, request_timeout=30, context_window=4096, **more)


def completes(address: str) -> Any:
    return _llm(address).complete("5 words").text


def completes_in_a_stream(address: str) -> Any:
    return "".join(part.delta or "" for part in _llm(address).stream_complete("5 words"))


def chats(address: str) -> Any:
    answer = _llm(address).chat([ChatMessage(role="user", content="hello")])
    return [answer.message.content, answer.raw["usage"]["completion_tokens"]]


def chats_in_a_stream(address: str) -> Any:
    parts = list(_llm(address).stream_chat([ChatMessage(role="user", content="5 words")]))
    return ["".join(part.delta or "" for part in parts), parts[-1].raw["done_reason"]]


def learns_the_context_window(address: str) -> Any:
    """Not told, it asks /api/show."""
    llm = Ollama(model="qwen3:8b", base_url=address)
    return llm.metadata.context_window


def calls_a_tool(address: str) -> Any:
    llm = _llm(address)
    tool = FunctionTool.from_defaults(get_weather)
    answer = llm.chat_with_tools([tool], user_msg="weather in Rome?")
    (call,) = llm.get_tool_calls_from_response(answer)
    return [call.tool_name, call.tool_kwargs]


def obeys_a_schema(address: str) -> Any:
    return _llm(address).structured_predict(Number, PromptTemplate("a number")).n


def thinks(address: str) -> Any:
    answer = _llm(address, "qwen3:8b", thinking=True).chat(
        [ChatMessage(role="user", content="hello")]
    )
    return [block.block_type for block in answer.message.blocks]


def sends_an_image(address: str) -> Any:
    blocks = [TextBlock(text="2 words"), ImageBlock(image=IMAGE)]
    answer = _llm(address, "gemma3:4b").chat([ChatMessage(role="user", blocks=blocks)])
    return answer.message.content


def does_not_find(address: str) -> Any:
    return _llm(address, "gone").complete("x").text


def breaks(address: str) -> Any:
    parts = _llm(address, "fragile").stream_chat([ChatMessage(role="user", content="9 words")])
    return [part.delta for part in parts]


main(
    *(completes, completes_in_a_stream, chats, chats_in_a_stream, learns_the_context_window),
    *(calls_a_tool, obeys_a_schema, thinks, sends_an_image, does_not_find, breaks),
)
