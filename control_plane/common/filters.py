"""Query parameters of lists: whatever is not offered is refused, not ignored. A filter with a slip
of the pen in its name would otherwise show everything, as if it had matched.
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any, Final

from django.core.exceptions import ValidationError
from django_filters import BooleanFilter, IsoDateTimeFilter
from django_filters.fields import IsoDateTimeField
from django_filters.rest_framework import DjangoFilterBackend
from rest_framework.filters import OrderingFilter, SearchFilter

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime

    from django.db.models import QuerySet
    from django_filters import FilterSet
    from rest_framework.request import Request
    from rest_framework.views import APIView

ALWAYS: Final = frozenset({"limit", "offset", "fields"})
MAX_SEARCH_LENGTH: Final = 200
"""Each word becomes a condition, and a database takes so many only."""

_BOOLEANS: Final = frozenset({"true", "false"})


def invalid_filter(parameter: str, detail: str) -> ApiError:
    """The one answer to a parameter that cannot be used."""
    return ApiError(400, "invalid_filter", detail, {parameter: [detail]})


def unknown_parameters_refuse(request: Request, offered: Iterable[str]) -> None:
    """Raise ApiError for a query parameter that is not offered, naming those that are."""
    for name in request.query_params:
        if name not in offered:
            detail = f"This takes {', '.join(sorted(offered))}."
            raise invalid_filter(name[:64], detail)


class _MomentField(IsoDateTimeField):
    def clean(self, value: Any) -> datetime | None:
        """In UTC: a moment of the first or last day that there is may lie beyond it there."""
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError as error:
            msg = "Give a time within the years 1 to 9999."
            raise ValidationError(msg) from error


class MomentFilter(IsoDateTimeFilter):
    """A time as ISO 8601 writes it; without an offset: in UTC."""

    field_class = _MomentField


class StrictFilterBackend(DjangoFilterBackend):
    """The view's `filterset_class`, and nothing but that."""

    def filter_queryset(
        self, request: Request, queryset: QuerySet[Any], view: APIView
    ) -> QuerySet[Any]:
        """Narrow the list; raises ApiError for a name or a value that is not offered."""
        filterset: FilterSet | None = self.get_filterset(request, queryset, view)
        offered = set() if filterset is None else set(filterset.filters)
        unknown_parameters_refuse(request, offered | _offered_elsewhere(view))
        if filterset is None:
            return queryset
        _refuse_half_booleans(request, filterset)
        if not filterset.is_valid():
            name, faults = next(iter(filterset.errors.items()))
            raise invalid_filter(name, " ".join(faults))
        narrowed: QuerySet[Any] = filterset.qs
        return narrowed


def _offered_elsewhere(view: APIView) -> set[str]:
    offered = set(ALWAYS)
    if getattr(view, "search_fields", None):
        offered.add("search")
    if getattr(view, "ordering_fields", None):
        offered.add("ordering")
    return offered


def _refuse_half_booleans(request: Request, filterset: FilterSet) -> None:
    """django-filter takes any other word for "do not filter"."""
    for name, declared in filterset.filters.items():
        given = request.query_params.get(name)
        if isinstance(declared, BooleanFilter) and given and given.lower() not in _BOOLEANS:
            raise invalid_filter(name, "Give true or false.")


class StrictSearchFilter(SearchFilter):
    """`?search=`, of bounded length."""

    def get_search_terms(self, request: Request) -> list[str]:
        """The words; raises ApiError for what no database could look for."""
        text = request.query_params.get(self.search_param, "")
        if len(text) > MAX_SEARCH_LENGTH or "\0" in text:
            detail = f"Give at most {MAX_SEARCH_LENGTH} characters of text."
            raise invalid_filter(self.search_param, detail)
        terms: list[str] = super().get_search_terms(request)
        return terms


class StrictOrderingFilter(OrderingFilter):
    """`?ordering=name,-weight`, over the view's `ordering_fields` only."""

    def remove_invalid_fields(
        self, queryset: QuerySet[Any], fields: Iterable[str], view: APIView, request: Request
    ) -> list[str]:
        """Refuse a field that is not offered, naming those that are."""
        asked = list(fields)
        offered = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        if any(name.removeprefix("-") not in offered for name in asked):
            raise invalid_filter("ordering", f"`ordering` takes {', '.join(offered)}.")
        return asked
