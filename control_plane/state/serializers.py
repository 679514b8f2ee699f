"""The shapes of the state, for the description of the API. The selectors build them ready."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from control_plane.publishing.selectors import Applied


class ReasonSerializer(serializers.Serializer[Any]):
    """Who has what against a node."""

    by = serializers.ChoiceField(choices=["operator", "sweep", "data_plane"])
    code = serializers.CharField()
    detail = serializers.CharField()
    instance = serializers.CharField(required=False, help_text="Which data plane.")


class PoolNodeSerializer(serializers.Serializer[Any]):
    """A node in a pool."""

    id = serializers.UUIDField()
    name = serializers.CharField()
    address = serializers.CharField()
    weight = serializers.FloatField()
    max_parallel = serializers.IntegerField(allow_null=True)
    version = serializers.CharField()
    health = serializers.CharField()
    latency_s = serializers.FloatField(allow_null=True)
    active_count = serializers.IntegerField(allow_null=True)
    active_counts = serializers.DictField(child=serializers.IntegerField())


class ActiveNodeSerializer(PoolNodeSerializer):
    """A node in the active pool."""

    doubts = ReasonSerializer(many=True, help_text="What single data planes have against it.")


class StandbyNodeSerializer(PoolNodeSerializer):
    """A node in standby."""

    reasons = ReasonSerializer(many=True)


class FleetModelSerializer(serializers.Serializer[Any]):
    """A model somewhere in the fleet."""

    name = serializers.CharField()
    canonical = serializers.CharField()
    nodes = serializers.IntegerField(help_text="Nodes that have it on disk.")
    loaded_on = serializers.IntegerField(help_text="Nodes that have it in memory.")
    digests = serializers.IntegerField(help_text="Different versions of it; more than 1 is drift.")


class RefusedSerializer(serializers.Serializer[Any]):
    """A snapshot that an instance would not apply."""

    epoch = serializers.CharField()
    revision = serializers.IntegerField()
    reason = serializers.CharField()


class InstanceSerializer(serializers.Serializer[Any]):
    """A data-plane instance."""

    instance = serializers.CharField()
    live = serializers.BooleanField()
    applied = serializers.ChoiceField(choices=[state.value for state in Applied])
    epoch = serializers.CharField()
    revision = serializers.IntegerField()
    refused = RefusedSerializer(allow_null=True)
    age_s = serializers.FloatField()
    uptime_s = serializers.FloatField(allow_null=True)
    version = serializers.CharField()
    host = serializers.CharField()
    ready = serializers.BooleanField()
    draining = serializers.BooleanField()
    requests_total = serializers.IntegerField(allow_null=True)


class StateSerializer(serializers.Serializer[Any]):
    """The fleet at a glance."""

    epoch = serializers.CharField()
    revision = serializers.IntegerField()
    strategy = serializers.CharField()
    reports_available = serializers.BooleanField(help_text="False while Redis cannot be asked.")
    active = ActiveNodeSerializer(many=True)
    standby = StandbyNodeSerializer(many=True)
    node_ids = serializers.DictField(child=serializers.CharField(), help_text="Id to name.")
    latencies = serializers.DictField(child=serializers.FloatField(allow_null=True))
    active_counts = serializers.DictField(child=serializers.IntegerField(allow_null=True))
    models = FleetModelSerializer(many=True)
    instances = InstanceSerializer(many=True)


class ActiveNodeCountSerializer(serializers.Serializer[Any]):
    """One node's active requests."""

    node_id = serializers.UUIDField()
    name = serializers.CharField()
    active_requests = serializers.IntegerField(allow_null=True)
    by_instance = serializers.DictField(child=serializers.IntegerField())


class ActiveRequestsSerializer(serializers.Serializer[Any]):
    """Requests that nodes are processing now."""

    reports_available = serializers.BooleanField()
    active_requests = serializers.IntegerField(allow_null=True, help_text="Over the nodes below.")
    nodes = ActiveNodeCountSerializer(many=True)
