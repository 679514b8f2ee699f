"""The end of a streamed answer of the compatible families: server-sent events.

Each event carries its JSON on one `data:` line and names its type inside, so lines suffice and
`event:` lines need no reading. OpenAI's chat ends with the literal `[DONE]`, the others with an
event of a certain type.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Final

import msgspec

from data_plane.protocol.endings import Usage
from data_plane.protocol.lines import LineScanner
from data_plane.protocol.sse_events import (
    Response,
    read_anthropic,
    read_completion,
    read_responses,
)
from data_plane.protocol.usage import error_text, of_tokens

_DATA: Final = b"data:"


class _EventScanner(LineScanner):
    """Reads the `data:` lines."""

    __slots__ = ()
    record_end = b"\n\n"

    @property
    def separator(self) -> bytes:
        """An empty line ends whatever was begun; clients skip one too many."""
        if not self.last or (self.last.endswith(b"\n\n") and not self.rest):
            return b""
        return b"\n\n"

    def read_line(self, line: bytes) -> None:
        """Hand on the payload of a data line."""
        if not line.startswith(_DATA):
            return
        try:
            self.read_data(line[len(_DATA) :].strip())
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return

    @abstractmethod
    def read_data(self, data: bytes) -> None:
        """Learn from the payload of an event."""


class OpenAIScanner(_EventScanner):
    """Watches /v1/chat/completions and /v1/completions."""

    __slots__ = ()

    needles = (b"[DONE]", b'"usage"', b'"error"')

    def read_data(self, data: bytes) -> None:
        """The end is a literal; usage, if the client asked for it, comes in the event before."""
        if data == b"[DONE]":
            self.done = True
            return
        event = read_completion(data)
        if event.usage is not None:
            self.usage = of_tokens(event.usage)
        self.error = error_text(event.error) or self.error


class AnthropicScanner(_EventScanner):
    """Watches /v1/messages."""

    __slots__ = ()

    needles = (b"message_st", b"message_delta", b'"error"')

    def read_data(self, data: bytes) -> None:
        """message_start estimates the input, message_delta tells the count, message_stop ends."""
        event = read_anthropic(data)
        match event.type:
            case "message_stop":
                self.done = True
            case "message_start" if event.message is not None and event.message.usage is not None:
                self.usage = of_tokens(event.message.usage)
            case "message_delta" if event.usage is not None:
                self.usage = _updated(self.usage, of_tokens(event.usage))
            case "error":
                self.error = error_text(event.error) or "unknown error"


class ResponsesScanner(_EventScanner):
    """Watches /v1/responses."""

    __slots__ = ()

    needles = (
        b"response.completed",
        b"response.incomplete",
        b"response.failed",
        b'"error"',
    )
    giant_end = b'"type":"response.completed"'

    def read_data(self, data: bytes) -> None:
        """Completed and incomplete (a limit was reached) are whole answers; failed is an error."""
        event = read_responses(data)
        response = event.response or Response()
        match event.type:
            case "response.completed" | "response.incomplete":
                self.done = True
                if response.usage is not None:
                    self.usage = of_tokens(response.usage)
            case "response.failed":
                self.error = error_text(response.error) or "response failed"
            case "error":
                self.error = error_text(event.error) or event.message or "unknown error"


def _updated(before: Usage | None, now: Usage) -> Usage:
    if before is None or now.prompt_tokens:
        return now
    return Usage(prompt_tokens=before.prompt_tokens, completion_tokens=now.completion_tokens)
