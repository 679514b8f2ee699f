"""What the events of the compatible families say, as far as the proxy wants to know."""

from __future__ import annotations

from typing import Final

import msgspec

from data_plane.protocol.endings import Tokens  # noqa: TC001 - msgspec asks for it


class _Completion(msgspec.Struct):
    usage: Tokens | None = None
    error: msgspec.Raw = msgspec.Raw()


class _Message(msgspec.Struct):
    usage: Tokens | None = None


class _AnthropicEvent(msgspec.Struct):
    type: str = ""
    message: _Message | None = None
    usage: Tokens | None = None
    error: msgspec.Raw = msgspec.Raw()


class Response(msgspec.Struct):
    """The answer within an event of /v1/responses."""

    usage: Tokens | None = None
    error: msgspec.Raw = msgspec.Raw()


class _ResponsesEvent(msgspec.Struct):
    type: str = ""
    response: Response | None = None
    error: msgspec.Raw = msgspec.Raw()
    message: str = ""


read_completion: Final = msgspec.json.Decoder(_Completion).decode
read_anthropic: Final = msgspec.json.Decoder(_AnthropicEvent).decode
read_responses: Final = msgspec.json.Decoder(_ResponsesEvent).decode
