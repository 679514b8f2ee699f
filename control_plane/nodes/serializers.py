"""Nodes as JSON. Reading shows what we know; writing takes only what an operator decides.

An address may be given whole (`address`), or as the replaced system had it (`host` and `port`).
Fields that are read-only are ignored on write, so that what was read can be sent back; fields that
nobody knows are refused, so that a typo does not pass for a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Final

import msgspec
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from control_plane.common.fields import SparseFieldsMixin
from control_plane.nodes.errors import AddressRefusedError
from control_plane.nodes.inventory import available_models, loaded_models
from control_plane.nodes.models import MAX_NAME_LENGTH, Node, validate_printable
from shared.addresses import MAX_LENGTH, InvalidAddressError, NodeAddress, normalise
from shared.environ import MAX_PORT
from shared.events import CURES, ProbeOutcome

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from control_plane.nodes.client import Observation

MAX_TOKEN_LENGTH: Final = 4_096
HEAVY_FIELDS: Final = frozenset({"available_models"})
"""Left out of lists unless asked for by `?fields=`: fifty models a node make a page megabytes."""


class AvailableModelSerializer(serializers.Serializer[Any]):
    """A model on a node's disk."""

    name = serializers.CharField()
    canonical = serializers.CharField()
    digest = serializers.CharField()
    size_bytes = serializers.IntegerField()
    format = serializers.CharField()
    family = serializers.CharField()
    families = serializers.ListField(child=serializers.CharField(), allow_null=True)
    parameter_size = serializers.CharField()
    quantization = serializers.CharField()
    parent_model = serializers.CharField()
    context_length = serializers.IntegerField(allow_null=True)
    embedding_length = serializers.IntegerField(allow_null=True)
    capabilities = serializers.ListField(child=serializers.CharField(), allow_null=True)
    remote_model = serializers.CharField()
    remote_host = serializers.CharField()
    modified_at = serializers.CharField()


class LoadedModelSerializer(serializers.Serializer[Any]):
    """A model in a node's memory."""

    name = serializers.CharField()
    canonical = serializers.CharField()
    digest = serializers.CharField()
    size_bytes = serializers.IntegerField()
    size_vram_bytes = serializers.IntegerField()
    context_length = serializers.IntegerField()
    expires_at = serializers.CharField()
    format = serializers.CharField()
    family = serializers.CharField()
    families = serializers.ListField(child=serializers.CharField(), allow_null=True)
    parameter_size = serializers.CharField()
    quantization = serializers.CharField()


class ProbeSerializer(serializers.Serializer[Any]):
    """What a probe of a node found."""

    outcome = serializers.ChoiceField(choices=[outcome.value for outcome in ProbeOutcome])
    detail = serializers.CharField(help_text="What it means and what to do next.")
    latency_s = serializers.FloatField(allow_null=True)
    version = serializers.CharField()
    models = serializers.IntegerField(help_text="Models on the node's disk.", allow_null=True)


def probe_public(seen: Observation) -> dict[str, Any]:
    """A probe as an operator sees it: an outcome, never what the address answered."""
    outcome = seen.probe.outcome if seen.probe else ProbeOutcome.UNREACHABLE
    latency_s = seen.probe.latency_s if seen.probe else None
    return {
        "outcome": outcome.value,
        "detail": CURES[outcome],
        "latency_s": None if latency_s is None else round(latency_s, 6),
        "version": seen.version,
        "models": None if seen.available is None else len(seen.available),
    }


class NodeSerializer(SparseFieldsMixin, serializers.ModelSerializer[Node]):
    """A node as it is read."""

    host = serializers.CharField(source="location.host", read_only=True)
    port = serializers.IntegerField(source="location.port", read_only=True)
    has_token = serializers.SerializerMethodField(help_text="A token is set. It is never shown.")
    pool = serializers.SerializerMethodField(help_text="active or standby, as the sweep sees it.")
    health_detail = serializers.SerializerMethodField(help_text="The reason in a sentence.")
    available_count = serializers.SerializerMethodField()
    loaded_count = serializers.SerializerMethodField()
    models_refreshed_at = serializers.SerializerMethodField()
    available_models = serializers.SerializerMethodField()
    loaded_models = serializers.SerializerMethodField()

    class Meta:
        """What is shown; the order is that of the answer."""

        model = Node
        fields: ClassVar = [
            "id",
            "name",
            "address",
            "host",
            "port",
            "active",
            "weight",
            "max_parallel",
            "has_token",
            "revision",
            "pool",
            "health",
            "health_reason",
            "health_detail",
            "health_changed_at",
            "last_seen_at",
            "latency_s",
            "version",
            "available_count",
            "loaded_count",
            "models_refreshed_at",
            "available_models",
            "loaded_models",
            "created_at",
            "updated_at",
        ]
        read_only_fields = fields

    def __init__(self, *args: Any, leave_out: Iterable[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in leave_out:
            self.fields.pop(name, None)

    def get_has_token(self, node: Node) -> bool:
        """Whether it has one."""
        return bool(node.sealed_token)

    @extend_schema_field(serializers.ChoiceField(choices=["active", "standby"]))
    def get_pool(self, node: Node) -> str:
        """Where it stands."""
        return "active" if node.is_in_active_pool else "standby"

    def get_health_detail(self, node: Node) -> str:
        """What to do about it."""
        return CURES[ProbeOutcome(node.health_reason)] if node.health_reason else ""

    def get_available_count(self, node: Node) -> int:
        """Models on disk."""
        return node.inventory.available_count if hasattr(node, "inventory") else 0

    def get_loaded_count(self, node: Node) -> int:
        """Models in memory."""
        return node.inventory.loaded_count if hasattr(node, "inventory") else 0

    @extend_schema_field(serializers.DateTimeField(allow_null=True))
    def get_models_refreshed_at(self, node: Node) -> Any:
        """When its models were last looked at."""
        return node.inventory.refreshed_at if hasattr(node, "inventory") else None

    @extend_schema_field(AvailableModelSerializer(many=True))
    def get_available_models(self, node: Node) -> list[dict[str, Any]]:
        """Models on disk."""
        held = available_models(node.inventory.available) if hasattr(node, "inventory") else []
        return [msgspec.structs.asdict(model) | {"modified_at": at} for model, at in held]

    @extend_schema_field(LoadedModelSerializer(many=True))
    def get_loaded_models(self, node: Node) -> list[dict[str, Any]]:
        """Models in memory."""
        held = loaded_models(node.inventory.loaded) if hasattr(node, "inventory") else ()
        return [msgspec.structs.asdict(model) for model in held]


class NodeProbedSerializer(NodeSerializer):
    """A node together with what the probe of this very edit found."""

    probe = ProbeSerializer(read_only=True, allow_null=True)

    class Meta(NodeSerializer.Meta):
        """With the probe at the end."""

        fields: ClassVar = [*NodeSerializer.Meta.fields, "probe"]
        read_only_fields = fields


class NodeWriteSerializer(serializers.ModelSerializer[Node]):
    """A node as an operator writes it."""

    name = serializers.CharField(
        max_length=MAX_NAME_LENGTH,
        required=False,
        validators=[validate_printable],
        help_text="Default: host:port.",
    )
    address = serializers.CharField(
        max_length=MAX_LENGTH, required=False, help_text="http(s)://host:port[/prefix]"
    )
    host = serializers.CharField(
        max_length=MAX_LENGTH, required=False, help_text="Instead of address."
    )
    port = serializers.IntegerField(required=False, help_text="With host.")
    token = serializers.CharField(
        max_length=MAX_TOKEN_LENGTH,
        required=False,
        allow_null=True,
        allow_blank=True,
        write_only=True,
        help_text="Bearer token that the node asks for; empty removes it. Never read back.",
    )
    revision = serializers.IntegerField(
        required=False,
        min_value=1,
        help_text="The edit you saw; refused with 409 when it is older.",
    )

    class Meta:
        """What an operator decides."""

        model = Node
        fields: ClassVar = [
            "name",
            "address",
            "host",
            "port",
            "active",
            "weight",
            "max_parallel",
            "token",
            "revision",
        ]

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        """Refuse what nobody knows."""
        if hasattr(data, "keys"):
            known = {*self.fields, *NodeProbedSerializer.Meta.fields}
            unknown = sorted(set(data.keys()) - known)
            if unknown:
                raise serializers.ValidationError(
                    {str(name)[:64]: ["This field is not known."] for name in unknown[:20]}
                )
        values: dict[str, Any] = super().to_internal_value(data)
        return values

    def validate_token(self, token: str | None) -> str:
        """Only what fits into a header."""
        token = token or ""
        if not (token.isascii() and token.isprintable()) or " " in token:
            msg = "Use printable ASCII characters without blanks."
            raise serializers.ValidationError(msg)
        return token

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """Bring the ways to give an address into one: a `NodeAddress` under `address`."""
        address = self._address(values)
        values = {key: value for key, value in values.items() if key not in {"host", "port"}}
        if address is None:
            if self.instance is None:
                msg = "Give the address as http://host:port, or as host and port."
                raise serializers.ValidationError({"address": [msg]})
            return values
        values["address"] = address
        if self.instance is None:
            values.setdefault("name", (address.authority + address.prefix)[:MAX_NAME_LENGTH])
        return values

    def _address(self, values: Mapping[str, Any]) -> NodeAddress | None:
        port: int | None = values.get("port")
        if port is not None and not 1 <= port <= MAX_PORT:
            port = 0  # normalise names the fault
        text = values.get("address") or values.get("host")
        try:
            if text is not None:
                return normalise(text, None if _is_read_back(values) else port)
            if port is not None and self.instance is not None:
                held = self.instance.location
                return normalise(f"{held.scheme}://{_bracketed(held.host)}{held.prefix}", port)
        except InvalidAddressError as error:
            raise AddressRefusedError(error) from error
        return None


def _is_read_back(values: Mapping[str, Any]) -> bool:
    """Address, host and port together: what was read is sent back, and the address says it all."""
    return all(key in values for key in ("address", "host", "port"))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
