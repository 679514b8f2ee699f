"""What lists of accounts may be filtered by."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from django_filters import rest_framework as filters

from control_plane.accounts.models import ROLES, ApiKey, AuditRecord, User
from control_plane.common.filters import MomentFilter

if TYPE_CHECKING:
    from django.db.models import QuerySet


class UserFilter(filters.FilterSet):
    """Users."""

    role = filters.ChoiceFilter(choices=ROLES)

    class Meta:
        """By equality."""

        model = User
        fields: ClassVar = ["username", "role", "is_active"]


class KeyFilter(filters.FilterSet):
    """API keys."""

    class Meta:
        """By equality."""

        model = ApiKey
        fields: ClassVar = ["name", "enabled"]


class AuditFilter(filters.FilterSet):
    """The audit log. `action` may be a family: `key` finds key.create too."""

    action = filters.CharFilter(
        method="by_action", help_text="An action, or the word before its dot."
    )
    since = MomentFilter(field_name="at", lookup_expr="gte", help_text="From then on.")
    until = MomentFilter(field_name="at", lookup_expr="lt", help_text="Before then.")

    class Meta:
        """By equality, but for the times."""

        model = AuditRecord
        fields: ClassVar = ["actor", "action", "target", "request_id"]

    def by_action(
        self, queryset: QuerySet[AuditRecord], _name: str, value: str
    ) -> QuerySet[AuditRecord]:
        """One action or one family of them."""
        if "." in value:
            return queryset.filter(action=value)
        return queryset.filter(action__startswith=f"{value}.")
