"""What an answer says of itself when it ends: is it whole, what did it cost, what went wrong.

Every family tells the same facts under other names; here they get one name each. Durations arrive
in nanoseconds and leave in seconds.
"""

from __future__ import annotations

from typing import Final

import msgspec

from data_plane.protocol.endings import Ending, ErrorObject, Record, Tokens, Usage, Whole

MAX_COMPLETE_BYTES: Final = 32 * 1024 * 1024
"""A larger whole answer (a huge batch of vectors) counts as complete without being looked into."""

MAX_ERROR_CHARS: Final = 4_096
"""Of a node's error text that is kept for the record."""

_NANOSECONDS: Final = 1e-9


_whole: Final = msgspec.json.Decoder(Whole)
_text: Final = msgspec.json.Decoder(str)
_object: Final = msgspec.json.Decoder(ErrorObject)


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
    error = error_text(whole.error)
    usage = of_tokens(whole.usage) if whole.usage is not None else of_record(whole)
    is_given_up = error is None and _is_given_up(whole)
    return Ending(not is_given_up and error is None, usage, error, is_given_up)


def of_tokens(tokens: Tokens) -> Usage:
    """What one of the compatible families says, under our names."""
    prompt = tokens.input_tokens if tokens.prompt_tokens is None else tokens.prompt_tokens
    completion = (
        tokens.output_tokens if tokens.completion_tokens is None else tokens.completion_tokens
    )
    return Usage(prompt_tokens=prompt, completion_tokens=completion)


def of_record(record: Record) -> Usage | None:
    """What a native answer has cost; None when the record says nothing of it."""
    if record.total_duration is None and record.prompt_eval_count is None:
        return None
    return Usage(
        prompt_tokens=record.prompt_eval_count,
        completion_tokens=record.eval_count,
        cached_tokens=record.prompt_eval_cached_count,
        total_s=_seconds(record.total_duration),
        load_s=_seconds(record.load_duration),
        prompt_eval_s=_seconds(record.prompt_eval_duration),
        eval_s=_seconds(record.eval_duration),
    )


def _is_given_up(whole: Whole) -> bool:
    """Whether the node stopped within the answer: it is well-formed, and has no end.

    A prompt that was only rendered has none either, and is what was asked for.
    """
    if memoryview(whole.debug_info):
        return False
    return (
        whole.done is False
        or (bool(whole.choices) and any(not each.finish_reason for each in whole.choices))
        or (whole.type == "message" and not whole.stop_reason)
    )


def error_text(member: msgspec.Raw) -> str | None:
    """The text of an `error` member, which is a string or an object with a message."""
    raw = bytes(member)
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
