"""Register nodes by their URLs. Run twice, it changes nothing the second time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from control_plane.common.errors import ApiError
from control_plane.nodes.client import NodeClient, Target, ask
from control_plane.nodes.models import MAX_NAME_LENGTH, Node
from control_plane.nodes.services import By, node_create
from control_plane.proxy_config.selectors import proxy_config_current
from shared.addresses import InvalidAddressError, NodeAddress, normalise
from shared.events import CURES

if TYPE_CHECKING:
    from control_plane.nodes.client import Observation

ACTOR: Final = "register_nodes"


class Command(BaseCommand):
    """One line for each node; fails at the end when an address could not be accepted."""

    help = (
        "Register Ollama nodes by their URLs, probing each. Nodes that are there stay as they are."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """URLs, and whether they must answer."""
        parser.add_argument("urls", nargs="+", metavar="URL", help="http(s)://host:port[/prefix]")
        parser.add_argument(
            "--if-answering",
            action="store_true",
            help="register only what answers as an Ollama node does; the rest is no error",
        )

    def handle(self, *_args: Any, urls: list[str], if_answering: bool, **_options: Any) -> None:
        """Register each."""
        refused = 0
        for url in urls:
            try:
                self.stdout.write(_register(url, if_answering=if_answering))
            except (InvalidAddressError, ApiError) as error:
                refused += 1
                self.stdout.write(f"refused     {url}: {getattr(error, 'detail', error)}")
        if refused:
            raise CommandError(f"{refused} of {len(urls)} addresses were refused")


def _register(url: str, *, if_answering: bool) -> str:
    address = normalise(url)
    there = Node.objects.filter(address=address.url).first()
    if there is not None:
        return f"known       {address.url} as {there.name!r}"
    if if_answering and not _answers(address):
        return f"no answer   {address.url}: not registered"
    edited = node_create({"name": _free_name(address), "address": address}, By(ACTOR))
    return f"{_word(edited.seen)}  {address.url} as {edited.node.name!r}: {_found(edited.seen)}"


def _answers(address: NodeAddress) -> bool:
    config = proxy_config_current()
    target = Target(None, address.url)
    seen = ask([target], NodeClient.everything, settings.NODE_ADDRESS_POLICY, config)[0]
    return bool(seen.probe and seen.probe.is_ok)


def _free_name(address: NodeAddress) -> str:
    """host:port, with a number behind it when a node of another address has that name."""
    wish = (address.authority + address.prefix)[: MAX_NAME_LENGTH - 5]
    taken = set(Node.objects.filter(name__startswith=wish).values_list("name", flat=True))
    numbered = (f"{wish}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in (wish, *numbered) if name not in taken)


def _word(seen: Observation | None) -> str:
    return "registered" if seen and seen.probe and seen.probe.is_ok else "standby   "


def _found(seen: Observation | None) -> str:
    if seen is None or seen.probe is None:
        return "not probed"
    if not seen.probe.is_ok:
        return CURES[seen.probe.outcome]
    return f"Ollama {seen.version or 'of unknown version'}, {len(seen.available or ())} models"
