"""Which nodes a list shows, and in which order. Only what stands here may be asked for: a parameter
that reached the ORM by its own name could walk relations and read columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from django.db.models import F, Q

from control_plane.common.filters import MAX_SEARCH_LENGTH
from control_plane.nodes.errors import InvalidFilterError
from control_plane.nodes.selectors import nodes_holding
from shared.model_names import InvalidModelNameError, canonical_name
from shared.snapshot import Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet
    from django.db.models.expressions import OrderBy

    from control_plane.nodes.models import Node

ORDERINGS: Final = (
    "name",
    "address",
    "active",
    "health",
    "weight",
    "latency_s",
    "last_seen_at",
    "version",
    "created_at",
)
PARAMETERS: Final = frozenset(
    {
        "name",
        "active",
        "health",
        "model",
        "search",
        "order",
        "ordering",
        "limit",
        "offset",
        "fields",
    }
)
_BOOLEANS: Final = {"true": True, "1": True, "false": False, "0": False}


def nodes_filtered(nodes: QuerySet[Node], asked: Mapping[str, str]) -> QuerySet[Node]:
    """Narrow and order a list of nodes by query parameters; raises InvalidFilterError."""
    for parameter, value in asked.items():
        if parameter not in PARAMETERS:
            raise InvalidFilterError(parameter[:64], f"Known are {', '.join(sorted(PARAMETERS))}.")
        if "\0" in value or (len(value) > MAX_SEARCH_LENGTH and parameter != "fields"):
            raise InvalidFilterError(parameter, "That is no usable value.")
    condition = Q()
    if asked.get("name"):
        condition &= Q(name=asked["name"])
    if asked.get("active"):
        condition &= Q(active=_boolean("active", asked["active"]))
    if asked.get("health"):
        condition &= Q(health=_verdict(asked["health"]))
    if asked.get("model"):
        condition &= nodes_holding(_canonical(asked["model"]))
    if asked.get("search"):
        text = asked["search"]
        condition &= Q(name__icontains=text) | Q(address__icontains=text)
    return nodes.filter(condition).order_by(
        *_order(asked.get("ordering") or asked.get("order") or "name")
    )


def _boolean(parameter: str, text: str) -> bool:
    try:
        return _BOOLEANS[text.lower()]
    except KeyError as error:
        raise InvalidFilterError(parameter, "Give true or false.") from error


def _verdict(text: str) -> str:
    try:
        return Verdict(text).value
    except ValueError as error:
        raise InvalidFilterError("health", f"Give one of {', '.join(Verdict)}.") from error


def _canonical(text: str) -> str:
    try:
        return canonical_name(text)
    except InvalidModelNameError as error:
        raise InvalidFilterError("model", "That is no model name.") from error


def _order(text: str) -> list[OrderBy | str]:
    order: list[OrderBy | str] = []
    for key in text.split(","):
        name = key.strip().removeprefix("-")
        if name not in ORDERINGS:
            raise InvalidFilterError(
                "ordering", f"Order by {', '.join(ORDERINGS)}, - in front reverses."
            )
        column = F(name)
        falling = key.strip().startswith("-")
        # Unknown values last either way, on both databases, and the id settles ties, so that
        # pages neither repeat nor skip a node.
        order.append(column.desc(nulls_last=True) if falling else column.asc(nulls_last=True))
    return [*order, "pk"]
