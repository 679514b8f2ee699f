"""Ordering that refuses what it does not know, instead of ignoring it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rest_framework.filters import OrderingFilter

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from django.db.models import QuerySet
    from rest_framework.request import Request
    from rest_framework.views import APIView


class StrictOrderingFilter(OrderingFilter):
    """`?ordering=name,-weight`, over the view's `ordering_fields` only."""

    def remove_invalid_fields(
        self, queryset: QuerySet[Any], fields: Sequence[str], view: APIView, request: Request
    ) -> list[str]:
        """Refuse a field that is not offered, naming those that are."""
        offered = [name for name, _ in self.get_valid_fields(queryset, view, {"request": request})]
        unknown = [name for name in fields if name.removeprefix("-") not in offered]
        if unknown:
            detail = f"`ordering` takes {', '.join(offered) or 'nothing here'}."
            raise ApiError(400, "invalid_filter", detail, {"ordering": [detail]})
        return list(fields)
