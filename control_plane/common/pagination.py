"""Lists by `limit` and `offset`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.pagination import LimitOffsetPagination

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from rest_framework.request import Request


class LimitOffset(LimitOffsetPagination):
    """{"count", "next", "previous", "results"}; garbage is refused, a large limit is capped."""

    default_limit = 100
    max_limit = 1_000

    def get_limit(self, request: Request) -> int:
        """The page size asked for, capped."""
        asked = self._number(request, self.limit_query_param, self.default_limit, least=1)
        return min(asked, self.max_limit)

    def get_offset(self, request: Request) -> int:
        """Where the page begins."""
        return self._number(request, self.offset_query_param, 0, least=0)

    @staticmethod
    def _number(request: Request, name: str, default: int, *, least: int) -> int:
        raw = request.query_params.get(name)
        if raw is None:
            return default
        if not (raw.isascii() and raw.isdigit() and len(raw) < 16 and int(raw) >= least):  # noqa: PLR2004 - digits of any sane count
            detail = f"`{name}` must be a whole number from {least}."
            raise ApiError(400, "invalid_filter", detail, {name: [detail]})
        return int(raw)
