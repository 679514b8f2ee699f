"""Which scanner watches which framing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from data_plane.protocol import ndjson, sse
from data_plane.protocol.routes import Framing

if TYPE_CHECKING:
    from data_plane.protocol.lines import LineScanner

_SCANNERS: Final[dict[Framing, type[LineScanner]]] = {
    Framing.NDJSON: ndjson.Scanner,
    Framing.SSE_OPENAI: sse.OpenAIScanner,
    Framing.SSE_RESPONSES: sse.ResponsesScanner,
    Framing.SSE_ANTHROPIC: sse.AnthropicScanner,
}


def scanner_for(framing: Framing) -> LineScanner:
    """A fresh scanner for one streamed answer; a framing that does not stream has none."""
    return _SCANNERS[framing]()
