"""The end of a native stream: one JSON object a line, the last one with `"done":true`.

A content that speaks of `"done":true` has its quotes escaped and is no danger to the search; the
arguments of a tool call are (`{"arguments":{"done":true}}`), so only the parsed top level decides.
"""

from __future__ import annotations

from typing import Final

import msgspec

from data_plane.protocol.endings import Record
from data_plane.protocol.lines import LineScanner
from data_plane.protocol.usage import error_text, of_record

_record: Final = msgspec.json.Decoder(Record)


class Scanner(LineScanner):
    """Watches application/x-ndjson."""

    __slots__ = ()

    # No record can be the last without the word true, however its writer spaces its JSON.
    needles = (b"true", b'"error"')
    giant_end = b'"done":true'

    def read_line(self, line: bytes) -> None:
        """Take over what the record says if it is the last one or an error."""
        try:
            record = _record.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        if record.done:
            self.done = True
            self.usage = of_record(record) or self.usage
        self.error = error_text(record.error) or self.error
