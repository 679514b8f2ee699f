"""The one line that every request gets, as it is written."""

from __future__ import annotations

import msgspec


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """What an access line says, in this order; what has a default is left out where it is that."""

    timestamp: str
    level: str
    event: str
    request_id: str
    outcome: str | None
    status: int
    route: str
    method: str
    client: str
    took_s: float
    bytes_in: int
    bytes_out: int
    worker: int = 0
    model: str = ""
    stream: bool | None = None
    node: str = ""
    node_id: str = ""
    reason: str = ""
    attempts: int = 0
    ttft_s: float | None = None
    waited_s: float | None = None
    prompt_tokens: int | None = None
    answer_tokens: int | None = None
    key_id: str = ""
    code: str | None = None
    detail: str = ""
    path: str = ""
