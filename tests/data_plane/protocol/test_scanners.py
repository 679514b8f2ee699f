"""Which scanner watches which framing."""

import pytest

from data_plane.protocol import ndjson, sse
from data_plane.protocol.routes import Framing
from data_plane.protocol.scanners import scanner_for


@pytest.mark.parametrize(
    ("framing", "kind"),
    [
        (Framing.NDJSON, ndjson.Scanner),
        (Framing.SSE_OPENAI, sse.OpenAIScanner),
        (Framing.SSE_RESPONSES, sse.ResponsesScanner),
        (Framing.SSE_ANTHROPIC, sse.AnthropicScanner),
    ],
)
def test_each_streamed_framing_has_its_scanner(framing, kind):
    assert type(scanner_for(framing)) is kind


def test_two_streams_share_no_scanner():
    assert scanner_for(Framing.NDJSON) is not scanner_for(Framing.NDJSON)
