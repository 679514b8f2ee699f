"""What lies on a fake node's disk: models with the metadata that /api/tags and /api/show give.

The name grammar is written down here a second time on purpose: a fake that used the project's
own parser could not disagree with it.
"""

import hashlib
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from fakes.ollama_json import Json, local_stamp

_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,79}")
_NAMESPACE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,79}")
_HOST = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,349}")
_HOST_DEFAULT = "registry.ollama.ai"
# What the imaginary registry can deliver; anything else is an unknown manifest.
REGISTRY_NAMES = ("llama3.2", "qwen3", "nomic-embed-text", "gemma3", "mistral", "tinyllama")
TEMPLATE = "{{ .System }}{{ .Prompt }}{{ .Response }}"


class ModelNameError(ValueError):
    """Not a model name by Ollama's grammar."""


def canonical(text: str) -> str:
    """`host/namespace/model:tag` in lower case, defaults filled in."""
    rest = text.strip().split("://", 1)[-1]
    slash, colon = rest.rfind("/"), rest.rfind(":")
    rest, tag = (rest[:colon], rest[colon + 1 :]) if colon > slash else (rest, "latest")
    parts = rest.split("/")
    model = parts[-1]
    namespace = parts[-2] if len(parts) > 1 else "library"
    host = "/".join(parts[:-2]) or _HOST_DEFAULT
    fits = (
        _PART.fullmatch(model)
        and _PART.fullmatch(tag)
        and _NAMESPACE.fullmatch(namespace)
        and _HOST.fullmatch(host)
    )
    if not fits:
        raise ModelNameError(text)
    return f"{host}/{namespace}/{model}:{tag}".lower()


def display(text: str) -> str:
    """The shortest form: default host and namespace dropped, the tag always there."""
    rest = text.strip().split("://", 1)[-1]
    if rest.rfind(":") <= rest.rfind("/"):
        rest += ":latest"
    for default in (f"{_HOST_DEFAULT}/", "library/"):
        if rest.lower().startswith(default):
            rest = rest[len(default) :]
    return rest


@dataclass(frozen=True, slots=True)
class FakeModel:
    """One installed model. `load_s` overrides the node's load time for this model."""

    name: str
    digest: str = ""
    size: int = 2_019_393_189
    family: str = "llama"
    parameter_size: str = "3.2B"
    quantization: str = "Q4_K_M"
    context_length: int = 131_072
    embedding_length: int = 3_072
    capabilities: tuple[str, ...] = ("completion", "tools")
    modified_at: float = field(default_factory=time.time)
    system: str = ""
    remote_model: str = ""
    remote_host: str = ""
    load_s: float | None = None
    reply: str | None = None

    @property
    def key(self) -> str:
        """What two spellings of one name have in common."""
        return canonical(self.name)

    def details(self) -> Json:
        """The `details` object of tags and show."""
        return {
            "parent_model": "",
            "format": "gguf",
            "family": self.family,
            "families": [self.family],
            "parameter_size": self.parameter_size,
            "quantization_level": self.quantization,
            "context_length": self.context_length,
            "embedding_length": self.embedding_length,
        }

    def tag(self) -> Json:
        """One entry of /api/tags."""
        entry: Json = {"name": self.name, "model": self.name}
        if self.remote_model:
            entry |= {"remote_model": self.remote_model, "remote_host": self.remote_host}
        return entry | {
            "modified_at": local_stamp(self.modified_at),
            "size": self.size,
            "digest": self.digest,
            "details": self.details(),
            "capabilities": list(self.capabilities),
        }


def made(name: str | FakeModel) -> FakeModel:
    """A model from its name: the digest follows the name, the rest follows the family."""
    if isinstance(name, FakeModel):
        model = replace(name, name=display(name.name))
    else:
        model = _by_family(display(name))
    canonical(model.name)
    digest = hashlib.sha256(f"manifest of {model.key}".encode()).hexdigest()
    return model if model.digest else replace(model, digest=digest)


def _by_family(name: str) -> FakeModel:
    base = name.rsplit("/", maxsplit=1)[-1].split(":", maxsplit=1)[0].lower()
    if "embed" in base or base.startswith(("all-minilm", "bge")):
        return FakeModel(
            name,
            size=274_302_450,
            family="nomic-bert",
            parameter_size="137M",
            quantization="F16",
            context_length=2_048,
            embedding_length=768,
            capabilities=("embedding",),
        )
    if base.startswith(("qwen3", "deepseek-r1", "gpt-oss")):
        return FakeModel(
            name,
            size=5_225_388_164,
            family="qwen3",
            parameter_size="8.2B",
            context_length=40_960,
            embedding_length=4_096,
            capabilities=("completion", "tools", "thinking"),
        )
    if base.startswith(("gemma3", "llava")):
        return FakeModel(
            name,
            size=3_338_801_804,
            family="gemma3",
            parameter_size="4.3B",
            embedding_length=2_560,
            capabilities=("completion", "vision"),
        )
    if base.startswith("voxtral"):
        return FakeModel(
            name,
            size=2_676_000_000,
            family="voxtral",
            parameter_size="3B",
            capabilities=("completion", "audio"),
        )
    return FakeModel(name)


class Library:
    """The models and blobs on one node's disk."""

    def __init__(self, models: Iterable[str | FakeModel]) -> None:
        """Install the given models."""
        self._models: dict[str, FakeModel] = {}
        self.blobs: dict[str, bytes] = {}
        for model in models:
            self.add(model)

    def add(self, model: str | FakeModel) -> FakeModel:
        """Install a model, or replace the one of that name."""
        installed = made(model)
        self._models[installed.key] = installed
        return installed

    def remove(self, name: str) -> FakeModel | None:
        """Delete a model; None when it was not there."""
        return self._models.pop(canonical(name), None)

    def find(self, name: str) -> FakeModel | None:
        """The model of that name, however it is spelled; raises ModelNameError."""
        return self._models.get(canonical(name))

    def newest_first(self) -> list[FakeModel]:
        """All models in the order of /api/tags."""
        return sorted(self._models.values(), key=lambda model: -model.modified_at)
