"""Reading request bodies strictly."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from django.conf import settings
from rest_framework.exceptions import ParseError
from rest_framework.parsers import JSONParser

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Mapping


class StrictJsonParser(JSONParser):
    """JSON in UTF-8, of bounded size and depth, each key once, no NaN, no half characters."""

    def parse(
        self,
        stream: Any,
        media_type: str | None = None,  # noqa: ARG002 - DRF's signature
        parser_context: Mapping[str, Any] | None = None,  # noqa: ARG002 - DRF's signature
    ) -> Any:
        """Read the body or raise ParseError; a body beyond the limit is 413."""
        limit: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        data = stream.read(limit + 1)
        if len(data) > limit:
            raise ApiError(413, "payload_too_large", f"The body may have {limit} bytes at most.")
        try:
            return _decoded(data)
        except (ValueError, RecursionError) as error:
            raise ParseError("Send one JSON document in UTF-8.", "parse_error") from error


def _decoded(data: bytes) -> Any:
    text = data.decode("utf-8")
    document = json.loads(
        text,
        object_pairs_hook=_each_key_once,
        parse_constant=_no_constant,
        parse_float=_finite,
    )
    if "\\u" in text:
        # Half a surrogate pair is no text: it could be neither stored nor put into an answer.
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    return document


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice")
    return result


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(text)
    return number


def _no_constant(name: str) -> Any:
    raise ValueError(name)
