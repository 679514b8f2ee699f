"""What is wrong with a request, in the words that its client is told."""

from __future__ import annotations

from shared.codes import SENTENCES, ErrorCode


class BadRequestError(Exception):
    """The client's mistake, with the status and the sentence that it is told."""

    def __init__(self, status: int, code: ErrorCode, detail: str = "") -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail or SENTENCES[code]
