"""What the end of an answer says of itself, as JSON is read into it and under our names."""

from __future__ import annotations

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What an answer cost, as far as the node said."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None
    """Of the prompt's, those that the node did not have to read again."""

    total_s: float | None = None
    load_s: float | None = None
    prompt_eval_s: float | None = None
    eval_s: float | None = None


class Ending(msgspec.Struct, frozen=True):
    """How an answer that is not streamed ended."""

    done: bool
    usage: Usage | None = None
    error: str | None = None
    is_given_up: bool = False
    """It is sound JSON that says of itself that it is not finished."""


class Tokens(msgspec.Struct):
    """`usage` of the compatible families: OpenAI's names, then Anthropic's and Responses'."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


class Record(msgspec.Struct):
    """The last record of a native answer: what of it concerns the proxy."""

    done: bool | None = None
    error: msgspec.Raw = msgspec.Raw()
    prompt_eval_count: int | None = None
    prompt_eval_cached_count: int | None = None
    """Of the newest releases."""

    eval_count: int | None = None
    total_duration: int | None = None
    load_duration: int | None = None
    prompt_eval_duration: int | None = None
    eval_duration: int | None = None


class Alternative(msgspec.Struct):
    """One of OpenAI's choices."""

    finish_reason: str | None = None


class Whole(Record, rename={"debug_info": "_debug_info"}):
    """A whole answer of any family."""

    usage: Tokens | None = None
    type: str = ""
    """Anthropic's name for what it is."""

    choices: list[Alternative] = []
    """OpenAI's."""

    stop_reason: str | None = None
    """Anthropic's."""

    debug_info: msgspec.Raw = msgspec.Raw()


class ErrorObject(msgspec.Struct):
    """An error that is more than its text."""

    message: str
