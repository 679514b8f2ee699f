"""What lists of jobs and the matrix may be filtered by."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Final, Self

from django_filters import rest_framework as filters

from control_plane.common.filters import (
    ALWAYS,
    MAX_SEARCH_LENGTH,
    MomentFilter,
    invalid_filter,
)
from control_plane.jobs.matrix import Place
from control_plane.jobs.models import KINDS, STATES, Job, JobPart
from shared.model_names import InvalidModelNameError, canonical_name

if TYPE_CHECKING:
    from collections.abc import Mapping

    from django.db.models import QuerySet

    from control_plane.jobs.matrix import Row
    from control_plane.nodes.models import Node

_BOOLEANS: Final = {"true": True, "false": False}


def _canonical(text: str) -> str:
    try:
        return canonical_name(text)
    except InvalidModelNameError as error:
        raise invalid_filter("model", "That is no model name.") from error


class JobFilter(filters.FilterSet):
    """Jobs."""

    kind = filters.ChoiceFilter(choices=KINDS)
    state = filters.MultipleChoiceFilter(choices=STATES, help_text="Repeat it for several.")
    model = filters.CharFilter(method="by_model", help_text="In any spelling.")
    node = filters.UUIDFilter(method="by_node", help_text="The id of a node that it is for.")
    created_by = filters.CharFilter(field_name="created_by__username", help_text="A user's name.")
    since = MomentFilter(field_name="created_at", lookup_expr="gte")
    until = MomentFilter(field_name="created_at", lookup_expr="lt")

    class Meta:
        """Only what stands above."""

        model = Job
        fields: ClassVar[list[str]] = []

    def by_node(self, queryset: QuerySet[Job], _name: str, value: uuid.UUID) -> QuerySet[Job]:
        """By a query of its own: a join would narrow the counts to this node as well."""
        return queryset.filter(pk__in=JobPart.objects.filter(node_id=value).values("job"))

    def by_model(self, queryset: QuerySet[Job], _name: str, value: str) -> QuerySet[Job]:
        """One model, however it is spelt."""
        return queryset.filter(canonical=_canonical(value))


@dataclass(frozen=True, slots=True)
class MatrixFilter:
    """The matrix: which rows, and which columns."""

    model: str = ""
    search: str = ""
    node: str = ""
    state: str = ""
    drift: bool | None = None

    @classmethod
    def read(cls, asked: Mapping[str, str]) -> Self:
        """From query parameters; raises ApiError for a name or a value that is not offered."""
        offered = {*cls.__dataclass_fields__, *ALWAYS} - {"fields"}
        for name, value in asked.items():
            if name not in offered:
                detail = f"This list takes {', '.join(sorted(offered))}."
                raise invalid_filter(name[:64], detail)
            if len(value) > MAX_SEARCH_LENGTH or "\0" in value:
                raise invalid_filter(name, "That is no usable value.")
        state, drift = asked.get("state", ""), asked.get("drift", "").lower()
        if state and state not in set(Place):
            raise invalid_filter("state", f"Give one of {', '.join(Place)}.")
        if drift and drift not in _BOOLEANS:
            raise invalid_filter("drift", "Give true or false.")
        model = asked.get("model", "")
        return cls(
            model=_canonical(model) if model else "",
            search=asked.get("search", "").lower(),
            node=asked.get("node", ""),
            state=state,
            drift=_BOOLEANS.get(drift),
        )

    def nodes(self, nodes: QuerySet[Node]) -> list[Node]:
        """The columns: all, or the one that `node` names (id or name)."""
        if not self.node:
            return list(nodes)
        try:
            found = list(nodes.filter(pk=uuid.UUID(self.node)))
        except ValueError:
            found = list(nodes.filter(name=self.node))
        if not found:
            raise invalid_filter("node", "There is no such node.")
        return found

    def fits(self, row: Row, columns: int) -> bool:
        """Whether a row is shown. `absent` fits a row that some of the columns lack."""
        places = row.places | ({Place.ABSENT} if len(row.cells) < columns else set())
        return (
            self.model in {"", row.canonical}
            and self.search in row.display.lower()
            and self.state in {"", *places}
            and self.drift in {None, row.has_drift}
        )
