"""From which registries nodes may be told to pull, and to which to push.

A model's name holds the host that it comes from (`host/namespace/model`), and a node goes wherever
that says: whoever may pull could make every node of the fleet fetch files of a stranger, or knock
at hosts of the nodes' own network. So the host must be one of these.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from shared import environ

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE: Final = "AIVONX_REGISTRIES"
DEFAULT: Final = "registry.ollama.ai,ollama.com,hf.co,huggingface.co"
"""Where names without a host come from, its other name, and the one that Ollama knows besides."""

ANY: Final = "*"

_HOST: Final = re.compile(r"[a-z0-9_][a-z0-9_.-]{0,252}(:[0-9]{1,5})?", re.ASCII)


class Registries:
    """The registries that are allowed."""

    __slots__ = ("hosts",)

    def __init__(self, hosts: tuple[str, ...]) -> None:
        """`hosts` as in a model's name, with their port if it is not 443; "*" for any."""
        self.hosts = hosts

    def allow(self, canonical: str) -> bool:
        """Whether the model of this canonical name comes from one of them."""
        return ANY in self.hosts or canonical.partition("/")[0] in self.hosts


def registries_read(variables: Mapping[str, str]) -> Registries:
    """Read AIVONX_REGISTRIES; raises SettingError."""
    hosts = tuple(host.lower() for host in environ.items(variables, VARIABLE, DEFAULT))
    for host in hosts:
        if host != ANY and not _HOST.fullmatch(host):
            raise environ.SettingError(
                VARIABLE, "must be hosts as in models' names, as registry.ollama.ai,hf.co, or *"
            )
    return Registries(hosts)
