r"""Ollama's grammar of model names.

    [scheme://][host/][namespace/]model[:tag]

Defaults: host registry.ollama.ai, namespace library, tag latest. A `:` parts the tag only after the
last `/`. Names compare without regard to case, so `Llama3`, `llama3:latest` and
`registry.ollama.ai/library/llama3` are one model. `:cloud`, `-cloud` and `:local` at the end say
where the model runs and are no part of its name (`split_source`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self

DEFAULT_HOST: Final = "registry.ollama.ai"
DEFAULT_NAMESPACE: Final = "library"
DEFAULT_TAG: Final = "latest"
MAX_LENGTH: Final = 512
"""Longer than any name whose parts are legal and useful; refused before any parsing."""

_HOST: Final = re.compile(r"[A-Za-z0-9_][\w.:-]{0,349}", re.ASCII)
_NAMESPACE: Final = re.compile(r"[A-Za-z0-9_][\w-]{0,79}", re.ASCII)
_MODEL: Final = re.compile(r"[A-Za-z0-9_][\w.-]{0,79}", re.ASCII)
_TAG: Final = _MODEL
_MAX_PARTS: Final = 3


class InvalidModelNameError(ValueError):
    """The text is no model name."""


class Source(StrEnum):
    """Where a request wants its model to run."""

    ANY = "any"
    LOCAL = "local"
    CLOUD = "cloud"


@dataclass(frozen=True, slots=True)
class ModelName:
    """The four parts of a name, defaults filled in, in the case they were given."""

    host: str
    namespace: str
    model: str
    tag: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a name; raises InvalidModelNameError."""
        if len(text) > MAX_LENGTH:
            raise InvalidModelNameError(text[:MAX_LENGTH])
        rest = text.strip(" ")
        _, separator, after = rest.partition("://")
        if separator:
            rest = after
        path, slash, last = rest.rpartition("/")
        last, colon, tag = last.partition(":")
        parts = (path + slash + last).split("/")
        if len(parts) > _MAX_PARTS or (colon and not tag):
            raise InvalidModelNameError(text)
        model = parts[-1]
        namespace = parts[-2] if len(parts) > 1 else DEFAULT_NAMESPACE
        host = parts[-3] if len(parts) > 2 else DEFAULT_HOST  # noqa: PLR2004 - host/namespace/model
        name = cls(host, namespace, model, tag or DEFAULT_TAG)
        if not name._is_legal():
            raise InvalidModelNameError(text)
        return name

    def _is_legal(self) -> bool:
        return bool(
            _HOST.fullmatch(self.host)
            and _NAMESPACE.fullmatch(self.namespace)
            and _MODEL.fullmatch(self.model)
            and _TAG.fullmatch(self.tag)
        )

    @property
    def canonical(self) -> str:
        """The form to compare and to index by: all four parts, lower case."""
        return f"{self.host}/{self.namespace}/{self.model}:{self.tag}".lower()

    @property
    def display(self) -> str:
        """The shortest form, as Ollama shows it: default host and namespace dropped, tag kept."""
        if self.host.lower() != DEFAULT_HOST:
            return f"{self.host}/{self.namespace}/{self.model}:{self.tag}"
        if self.namespace.lower() != DEFAULT_NAMESPACE:
            return f"{self.namespace}/{self.model}:{self.tag}"
        return f"{self.model}:{self.tag}"


@lru_cache(maxsize=8_192)
def canonical_name(text: str) -> str:
    """The canonical form of a name as a client spells it; raises InvalidModelNameError."""
    return ModelName.parse(text).canonical


def split_source(text: str) -> tuple[str, Source]:
    """Take `:cloud`, `-cloud` (in a tag) or `:local` off the end; raises on both at once."""
    base, source = _split_once(text.strip(" "))
    if source is not Source.ANY and _split_once(base)[1] not in {Source.ANY, source}:
        msg = "use either :local or :cloud, not both"
        raise InvalidModelNameError(msg)
    return base, source


def _split_once(text: str) -> tuple[str, Source]:
    head, colon, tag = text.rpartition(":")
    if not colon or "/" in tag:
        return text, Source.ANY
    match tag.lower():
        case "cloud":
            return head, Source.CLOUD
        case "local":
            return head, Source.LOCAL
        case lowered if lowered.endswith("-cloud"):
            return text[: -len("-cloud")], Source.CLOUD
    return text, Source.ANY
