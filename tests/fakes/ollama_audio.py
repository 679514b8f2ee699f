"""POST /v1/audio/transcriptions: a form, and the model's name may come after the sound."""

import re
from dataclasses import dataclass

from aiohttp import web
from fakes.ollama_generate import need
from fakes.ollama_node import TEXT_TYPE, AnswerError, Call, installed

_BOUNDARY = re.compile(r'multipart/form-data;.*boundary="?([^";]+)"?', re.IGNORECASE)
_NAME = re.compile(rb'\bname="([^"]*)"', re.IGNORECASE)
_FORMATS = ("", "json", "text", "verbose_json")


@dataclass(frozen=True, slots=True)
class _Form:
    parts: dict[str, bytes]

    def text(self, name: str) -> str:
        return self.parts.get(name, b"").decode()


async def transcriptions(call: Call) -> web.StreamResponse:
    """What a model hears: here, how much of it there was."""
    form = _form_of(call)
    sound = form.parts.get("file")
    if sound is None:
        raise AnswerError(400, "file is required")
    sent = form.text("model")
    if not sent:
        raise AnswerError(400, "model is required")
    model = installed(call.node, sent, "model '{name}' not found")
    need(model, "audio")
    if form.text("response_format") not in _FORMATS:
        raise AnswerError(400, f"unsupported response_format: {form.text('response_format')}")
    async with call.node.scheduler.using(model, {}, None):
        heard = f"{len(sound)} bytes of sound"
    if form.text("response_format") == "text":
        return await call.writer.whole(heard.encode(), TEXT_TYPE)
    return await call.json({"text": heard})


def _form_of(call: Call) -> _Form:
    found = _BOUNDARY.match(call.request.headers.get("Content-Type", ""))
    if found is None:
        raise AnswerError(400, "request Content-Type isn't multipart/form-data")
    parts = {}
    # A line break goes with the delimiter, so that what stands between is the part as it was.
    for piece in (b"\r\n" + call.body).split(f"\r\n--{found[1]}".encode())[1:-1]:
        head, _, value = piece.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if name is not None:
            parts[name[1].decode()] = value
    return _Form(parts)
