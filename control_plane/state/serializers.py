"""The shapes of the state, for the description of the API. The selectors build them ready."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from control_plane.publishing.selectors import Applied
from shared.model_names import MAX_LENGTH, InvalidModelNameError, canonical_name, split_source
from shared.questions import BARS, MAX_NUM_CTX, MAX_PROMPT_TOKENS, Outcome


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


class ExplainQuerySerializer(serializers.Serializer[Any]):
    """The request that is asked about."""

    model = serializers.CharField(max_length=MAX_LENGTH, help_text="As a client spells it.")
    prompt_tokens = serializers.IntegerField(
        default=0,
        min_value=0,
        max_value=MAX_PROMPT_TOKENS,
        help_text="Length of the prompt; 0: as usual for the model.",
    )
    num_ctx = serializers.IntegerField(
        default=None,
        min_value=1,
        max_value=MAX_NUM_CTX,
        help_text="The option of that name, if the client sets it.",
    )
    instance = serializers.CharField(
        default="", max_length=200, help_text="The data plane to ask; else one that serves."
    )

    def validate_model(self, value: str) -> str:
        """It must be a name that a client may send."""
        try:
            canonical_name(split_source(value)[0])
        except InvalidModelNameError as error:
            msg = "This is no model name; take one of /api/proxy/models, such as llama3.2:3b."
            raise serializers.ValidationError(msg) from error
        return value


class CandidateSerializer(serializers.Serializer[Any]):
    """A node, as the data plane looked at it. Times are in seconds."""

    node_id = serializers.CharField()
    name = serializers.CharField()
    bar = serializers.ChoiceField(
        choices=[bar.value for bar in BARS],
        allow_null=True,
        help_text="What keeps it from being chosen; null: nothing.",
    )
    bar_detail = serializers.CharField(help_text="The same in a sentence.")
    active_count = serializers.FloatField(help_text="Active requests of the whole fleet.")
    is_loaded = serializers.BooleanField(help_text="Whether it has the model in memory.")
    score = serializers.FloatField(
        allow_null=True,
        help_text="The lowest wins: seconds, or active requests by weight for least_active.",
    )
    ttft_s = serializers.FloatField(allow_null=True, help_text="Until the first token.")
    decode_s = serializers.FloatField(allow_null=True, help_text="For the answer.")
    others_s = serializers.FloatField(allow_null=True, help_text="What others wait longer.")
    eviction_s = serializers.FloatField(allow_null=True, help_text="Loads that it causes later.")
    wait_s = serializers.FloatField(allow_null=True, help_text="Of ttft_s: for a slot.")
    load_s = serializers.FloatField(allow_null=True, help_text="Of ttft_s: for the model.")


class ExplainedSerializer(serializers.Serializer[Any]):
    """Where the next request for a model would go."""

    model = serializers.CharField()
    outcome = serializers.ChoiceField(choices=[outcome.value for outcome in Outcome])
    sentence = serializers.CharField(help_text="All of it in a sentence.")
    node_id = serializers.CharField(help_text="Empty when there is none.")
    node = serializers.CharField(help_text="Its name.")
    reason = serializers.CharField(help_text="As X-Aivonx-Reason says it.")
    runner_up = serializers.CharField(help_text="The second best, and how much worse it scores.")
    strategy = serializers.CharField()
    instance = serializers.CharField(help_text="The data plane that was asked.")
    epoch = serializers.CharField()
    revision = serializers.IntegerField(help_text="The one that it had applied.")
    candidates = CandidateSerializer(many=True, help_text="The best first; at most 200.")
