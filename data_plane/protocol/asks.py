"""What a client asks for, once it is understood: see `ask`, which understands it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

from shared.releases import ANY_RELEASE

if TYPE_CHECKING:
    from data_plane.protocol.large import LargeBody
    from data_plane.protocol.routes import Route
    from shared.model_names import Source
    from shared.releases import Release


class Form(StrEnum):
    """What an ask is for."""

    RUN = "run"
    LOAD = "load"
    """Without a prompt: load the model and answer when it is there, with one object."""

    UNLOAD = "unload"
    """Without a prompt and with `keep_alive` zero: let go of the model, with one object."""

    SHOW = "show"
    """Tell of the model."""

    BATCH = "batch"
    """Embed so many texts that several nodes may share them."""


DETOURS: Final = frozenset({Form.LOAD, Form.UNLOAD, Form.SHOW, Form.BATCH})
"""What may take more than passing on what one node says: see `proxy.detours`."""


class Ask(msgspec.Struct, frozen=True, kw_only=True):
    """A request that makes sense."""

    route: Route
    model: str
    """As the client spelled it; the answer repeats this spelling."""

    canonical: str
    """What to look up and to permit. A name that asks for the cloud keeps its suffix, since it is
    another model than the local one of that name."""

    source: Source
    streaming: bool
    form: Form
    body: bytes | LargeBody
    """What to send on."""

    content_type: str = ""
    """Of the body, when that is no JSON."""

    least: Release = ANY_RELEASE
    """The least release of a node that can do all of it."""
