"""Serializers that say no to unknown fields, and give only the fields that were asked for."""

from __future__ import annotations

from typing import Any, ClassVar, Final, NoReturn

from rest_framework import serializers

from control_plane.common.errors import ApiError

MAX_NAMED: Final = 20
"""So many unknown fields are named; an answer must not grow with whatever was sent."""


class StrictFieldsMixin:
    """A field that the serializer does not have, or that may only be read, is an error."""

    def to_internal_value(self, data: Any) -> Any:
        """Refuse unknown keys before anything else is looked at."""
        if isinstance(data, dict):
            writable = {name for name, field in self.fields.items() if not field.read_only}  # type: ignore[attr-defined]  # a mixin
            unknown = sorted(str(name)[:64] for name in data if name not in writable)[:MAX_NAMED]
            if unknown:
                fault = "This field does not exist or cannot be set."
                raise serializers.ValidationError({name: [fault] for name in unknown})
        return super().to_internal_value(data)  # type: ignore[misc]  # a mixin


class ShortListField(serializers.ListField):
    """A list whose length is judged before its members: each would cost a look, and a sentence."""

    def to_internal_value(self, data: Any) -> list[Any]:
        """Refuse more than `max_length` members, which must be given."""
        if isinstance(data, list) and self.max_length is not None and len(data) > self.max_length:
            self.fail("max_length", max_length=self.max_length)
        values: list[Any] = super().to_internal_value(data)
        return values


class NamedChoiceField(serializers.ChoiceField):
    """A choice that is refused with the names of what there is to choose from."""

    default_error_messages: ClassVar = {"invalid_choice": "Give one of {names}."}

    def fail(self, key: str, **values: Any) -> NoReturn:
        """Raise ValidationError."""
        super().fail(key, **values, names=", ".join(str(name) for name in self.choices))


class SparseFieldsMixin:
    """`?fields=id,name` gives only those fields."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        context = kwargs.get("context") or {}
        request = context.get("request")
        if request is None or request.method not in {"GET", "HEAD"}:
            return
        asked = request.query_params.get("fields")
        if not asked:
            return
        names = {name.strip() for name in asked.split(",") if name.strip()}
        known: dict[str, Any] = self.fields  # type: ignore[attr-defined]  # a mixin
        unknown = sorted(names - set(known))
        if unknown:
            detail = f"`fields` takes {', '.join(sorted(known))}."
            raise ApiError(400, "invalid_filter", detail, {"fields": [detail]})
        for name in set(known) - names:
            known.pop(name)
