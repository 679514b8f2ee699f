"""What a client asks for, once it is understood: see `ask`, which understands it."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

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


class Ask:
    """A request that makes sense. Never changed."""

    __slots__ = (
        "body",
        "canonical",
        "content_type",
        "form",
        "least",
        "model",
        "route",
        "source",
        "streaming",
    )

    def __init__(  # noqa: PLR0913 - what a client may ask for
        self,
        *,
        route: Route,
        model: str,
        canonical: str,
        source: Source,
        streaming: bool,
        form: Form,
        body: bytes | LargeBody,
        least: Release = ANY_RELEASE,
        content_type: str = "",
    ) -> None:
        self.route = route
        self.model = model
        """As the client spelled it; the answer repeats this spelling."""

        self.canonical = canonical
        """What to look up and to permit. A name that asks for the cloud keeps its suffix, since it
        is another model than the local one of that name."""

        self.source = source
        self.streaming = streaming
        self.form = form
        self.body = body
        """What to send on."""

        self.content_type = content_type
        """Of the body, when that is no JSON."""

        self.least = least
        """The least release of a node that can do all of it."""

    def part(self, body: bytes) -> Ask:
        """The same for a part of what was asked."""
        return Ask(
            route=self.route,
            model=self.model,
            canonical=self.canonical,
            source=self.source,
            streaming=self.streaming,
            form=self.form,
            body=body,
            least=self.least,
            content_type=self.content_type,
        )
