"""The proxy config as JSON."""

from __future__ import annotations

from typing import Any, ClassVar

from rest_framework import serializers

from control_plane.common.fields import NamedChoiceField
from control_plane.proxy_config.models import ProxyConfig
from control_plane.proxy_config.selectors import FIELDS, OWN_FIELDS


class ProxyConfigSerializer(serializers.ModelSerializer[ProxyConfig]):
    """Every value that an operator may tune, and which edit this is."""

    serializer_choice_field = NamedChoiceField

    revision = serializers.IntegerField(
        required=False,
        min_value=0,
        help_text="The edit you saw; refused with 409 when it is older.",
    )

    class Meta:
        """The fields of `shared.snapshot.ProxyConfig`, and those of this plane alone."""

        model = ProxyConfig
        fields: ClassVar = [*FIELDS, *OWN_FIELDS, "revision", "updated_at"]
        read_only_fields: ClassVar = ["updated_at"]

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Refuse what nobody knows: a typo must not pass for a change."""
        if hasattr(data, "keys"):
            unknown = sorted(set(data.keys()) - set(self.fields))
            if unknown:
                raise serializers.ValidationError(
                    {str(name)[:64]: ["This field is not known."] for name in unknown[:20]}
                )
        values: dict[str, Any] = super().to_internal_value(data)
        return values
