"""What an answer says of itself when it ends: is it whole, what did it cost, what went wrong.

Every family tells the same facts under other names; here they get one name each. Durations arrive
in nanoseconds and leave in seconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

MAX_COMPLETE_BYTES: Final = 32 * 1024 * 1024
"""A larger whole answer (a huge batch of vectors) counts as complete without being looked into."""

MAX_ERROR_CHARS: Final = 4_096
"""Of a node's error text that is kept for the record."""

_NANOSECONDS: Final = 1e-9


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

    def as_usage(self) -> Usage:
        """The same under our names."""
        prompt = self.input_tokens if self.prompt_tokens is None else self.prompt_tokens
        completion = (
            self.output_tokens if self.completion_tokens is None else self.completion_tokens
        )
        return Usage(prompt_tokens=prompt, completion_tokens=completion)


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

    def as_usage(self) -> Usage | None:
        """What it cost; None when the record says nothing of it."""
        if self.total_duration is None and self.prompt_eval_count is None:
            return None
        return Usage(
            prompt_tokens=self.prompt_eval_count,
            completion_tokens=self.eval_count,
            cached_tokens=self.prompt_eval_cached_count,
            total_s=_seconds(self.total_duration),
            load_s=_seconds(self.load_duration),
            prompt_eval_s=_seconds(self.prompt_eval_duration),
            eval_s=_seconds(self.eval_duration),
        )


class _Choice(msgspec.Struct):
    finish_reason: str | None = None


class _Whole(Record):
    """A whole answer of any family."""

    usage: Tokens | None = None
    type: str = ""
    """Anthropic's name for what it is."""

    choices: list[_Choice] = []
    """OpenAI's."""

    stop_reason: str | None = None
    """Anthropic's."""

    _debug_info: msgspec.Raw = msgspec.Raw()

    @property
    def is_given_up(self) -> bool:
        """Whether the node stopped within the answer: it is well-formed, and has no end.

        A prompt that was only rendered has none either, and is what was asked for.
        """
        if memoryview(self._debug_info):
            return False
        return (
            self.done is False
            or (bool(self.choices) and any(not each.finish_reason for each in self.choices))
            or (self.type == "message" and not self.stop_reason)
        )


class _ErrorObject(msgspec.Struct):
    message: str


_whole: Final = msgspec.json.Decoder(_Whole)
_text: Final = msgspec.json.Decoder(str)
_object: Final = msgspec.json.Decoder(_ErrorObject)


def complete_json(body: bytes) -> Ending:
    """Judge an answer that came in one piece.

    An answer that the node gave up (its guard against repetition, a runner that ended without a
    last word) has status 200 and sound JSON; what it lacks is the reason why it ended: `"done"` is
    false, `finish_reason` null, `stop_reason` empty.
    """
    if len(body) > MAX_COMPLETE_BYTES:
        return Ending(done=True)
    try:
        whole = _whole.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return Ending(done=_is_other_json(body))
    error = error_text(bytes(whole.error)) if memoryview(whole.error) else None
    usage = whole.usage.as_usage() if whole.usage is not None else whole.as_usage()
    is_given_up = error is None and whole.is_given_up
    return Ending(not is_given_up and error is None, usage, error, is_given_up)


def error_text(raw: bytes) -> str | None:
    """The text of an `error` member, which is a string or an object with a message."""
    if not raw or raw == b"null":
        return None
    for read in (_text.decode, lambda data: _object.decode(data).message):
        try:
            return read(raw)[:MAX_ERROR_CHARS]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
    return raw[:MAX_ERROR_CHARS].decode("utf-8", "replace")


def _is_other_json(body: bytes) -> bool:
    """Whether it is sound JSON all the same, with members that are not what we know."""
    try:
        msgspec.json.decode(body, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _seconds(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds * _NANOSECONDS
