"""Jobs and the matrix as JSON."""

from __future__ import annotations

import re
import sys
from typing import Any, ClassVar, Final

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from control_plane.common.fields import ShortListField, SparseFieldsMixin, StrictFieldsMixin
from control_plane.jobs.matrix import PLACES
from control_plane.jobs.models import KINDS, PART_STATES, STATES, Job, JobPart, State
from control_plane.jobs.placement import MAX_NODES
from control_plane.jobs.selectors import COUNTED, percent
from control_plane.jobs.warmth import Standing
from control_plane.nodes.models import MAX_NAME_LENGTH
from control_plane.nodes.orders import SENTENCES, Kind
from control_plane.proxy_config.selectors import warm_models_current
from shared.model_names import MAX_LENGTH, InvalidModelNameError, ModelName

_GO_DURATION: Final = re.compile(r"-?(?:\d{1,9}(?:\.\d{1,9})?(?:ns|us|µs|ms|s|m|h))+", re.ASCII)
MAX_KEEP_ALIVE: Final = 64
STANDINGS: Final = tuple((standing.value, standing.value) for standing in Standing)


class ModelNameField(serializers.CharField):
    """A model's name by Ollama's grammar."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=MAX_LENGTH, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Refuse what no node could take."""
        name = super().to_internal_value(data)
        try:
            ModelName.parse(name)
        except InvalidModelNameError as error:
            msg = "This is no model name; give one such as qwen3:8b or me/mine:latest."
            raise serializers.ValidationError(msg, "invalid_model") from error
        return name


@extend_schema_field(OpenApiTypes.STR)
class KeepAliveField(serializers.Field[Any, Any, Any, Any]):
    """As Ollama takes it: seconds as a number (negative: for ever), or a duration such as "5m"."""

    def to_internal_value(self, data: Any) -> float | str:
        """Refuse what a node would."""
        is_number = isinstance(data, (int, float)) and not isinstance(data, bool)
        if is_number and abs(data) <= sys.float_info.max:  # an int may be larger than any float
            return float(data)
        if isinstance(data, str) and len(data) <= MAX_KEEP_ALIVE and _GO_DURATION.fullmatch(data):
            return data
        msg = 'Give seconds as a number, or a duration such as "5m"; negative is for ever.'
        raise serializers.ValidationError(msg)

    def to_representation(self, value: Any) -> Any:
        """As it was given."""
        return value


class ActSerializer(StrictFieldsMixin, serializers.Serializer[Any]):
    """What to do with which model, at which nodes."""

    model = ModelNameField()
    nodes = ShortListField(
        child=serializers.CharField(max_length=MAX_NAME_LENGTH),
        required=False,
        allow_empty=False,
        max_length=MAX_NODES,
        help_text="Ids or names of nodes. Left out: every node that has the model.",
    )


class PlacedSerializer(ActSerializer):
    """With a number of nodes instead of their names."""

    replicas = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=MAX_NODES,
        help_text="How many nodes of the active pool, chosen for you; 0: every one.",
    )

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """One way to say where."""
        if "nodes" in values and "replicas" in values:
            msg = "Give nodes or replicas, not both."
            raise serializers.ValidationError({"replicas": [msg]})
        return values


class PullSerializer(PlacedSerializer):
    """A pull. Without `nodes` and `replicas`: to as many nodes as the proxy config's
    `pull_replicas` says, which is every node of the active pool by default.
    """

    insecure = serializers.BooleanField(
        required=False,
        help_text="Ollama's field. Only false is taken: nodes pull over verified TLS.",
    )

    def validate_insecure(self, value: bool) -> bool:  # noqa: FBT001 - DRF's signature
        """Whoever stands between node and registry could give the fleet a model of theirs."""
        if value:
            msg = (
                "Nodes pull over verified TLS only: leave this out, and give the registry a "
                "certificate that the nodes trust."
            )
            raise serializers.ValidationError(msg, "insecure_not_allowed")
        return value


class LoadSerializer(PlacedSerializer):
    """A load. Without `nodes` and `replicas`: at one node that has the model."""

    keep_alive = KeepAliveField(
        required=False,
        help_text='Seconds, or a duration ("5m"); negative: for ever. Default: the node\'s.',
    )


class CopySerializer(ActSerializer):
    """A second name for a model."""

    destination = ModelNameField()

    def validate(self, values: dict[str, Any]) -> dict[str, Any]:
        """A model is no copy of itself."""
        names = [ModelName.parse(values[field]).canonical for field in ("model", "destination")]
        if names[0] == names[1]:
            msg = "This is the model itself; give another name."
            raise serializers.ValidationError({"destination": [msg]})
        return values


class LayerSerializer(serializers.Serializer[Any]):
    """One file of a model on its way."""

    digest = serializers.CharField()
    total_bytes = serializers.IntegerField()
    completed_bytes = serializers.IntegerField()


class JobPartSerializer(serializers.ModelSerializer[JobPart]):
    """A job at one node."""

    node = serializers.CharField(source="node_name", help_text="Its name when the job was made.")
    state = serializers.ChoiceField(choices=PART_STATES)
    code = serializers.CharField(help_text="Why it failed; stable.")
    detail = serializers.SerializerMethodField(help_text="The same, and what to do next.")
    percent = serializers.SerializerMethodField(help_text="Of a pull; null while unknown.")
    layers = LayerSerializer(many=True)

    class Meta:
        """Nothing here is the node's own words."""

        model = JobPart
        fields: ClassVar = [
            "node_id",
            "node",
            "state",
            "code",
            "detail",
            "step",
            "percent",
            "total_bytes",
            "completed_bytes",
            "layers",
            "tries",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    def get_detail(self, part: JobPart) -> str:
        """In a sentence."""
        return SENTENCES.get(part.code, "")

    def get_percent(self, part: JobPart) -> float | None:
        """0 to 100."""
        return _percent(part.state, part.completed_bytes, part.total_bytes)


class CountsSerializer(serializers.Serializer[Any]):
    """How many nodes are where."""

    queued = serializers.IntegerField()
    running = serializers.IntegerField()
    succeeded = serializers.IntegerField()
    failed = serializers.IntegerField()
    cancelled = serializers.IntegerField()


class JobSerializer(SparseFieldsMixin, serializers.ModelSerializer[Job]):
    """A job as a list shows it."""

    kind = serializers.ChoiceField(choices=KINDS)
    state = serializers.ChoiceField(choices=STATES)
    keep_alive = KeepAliveField(allow_null=True)
    created_by = serializers.CharField(source="created_by.username", default=None, read_only=True)
    nodes = serializers.SerializerMethodField(help_text="How many nodes are where.")
    percent = serializers.SerializerMethodField(help_text="Of a pull; null while unknown.")
    total_bytes = serializers.IntegerField(help_text="Of all nodes, as far as they have said.")
    completed_bytes = serializers.IntegerField()

    class Meta:
        """The claim is the workers' own."""

        model = Job
        fields: ClassVar = [
            "id",
            "kind",
            "model",
            "canonical",
            "destination",
            "keep_alive",
            "is_warmth",
            "state",
            "is_cancelling",
            "nodes",
            "percent",
            "total_bytes",
            "completed_bytes",
            "created_by",
            "created_at",
            "started_at",
            "finished_at",
        ]
        read_only_fields = fields

    @extend_schema_field(CountsSerializer)
    def get_nodes(self, job: Any) -> dict[str, int]:
        """By state."""
        return {state.value: getattr(job, f"nodes_{state}") for state in COUNTED}

    def get_percent(self, job: Any) -> float | None:
        """0 to 100."""
        return _percent(job.state, job.completed_bytes, job.total_bytes)


class JobDetailSerializer(JobSerializer):
    """A job with its part at each node."""

    left_out = serializers.ListField(
        child=serializers.CharField(),
        read_only=True,
        help_text="Of a pull that named no nodes: names of those that could not be used, and did "
        "not get it. Pull again when they are back.",
    )
    notice = serializers.SerializerMethodField(
        help_text="What the config will do about it; empty when nothing."
    )
    parts = JobPartSerializer(many=True, read_only=True)

    class Meta(JobSerializer.Meta):
        """With the parts at the end."""

        fields: ClassVar = [*JobSerializer.Meta.fields, "left_out", "notice", "parts"]
        read_only_fields = fields

    def get_notice(self, job: Job) -> str:
        """A model that is kept warm comes back, whoever unloads it."""
        if job.kind != Kind.UNLOAD or job.canonical not in warm_models_current():
            return ""
        return (
            f"{job.model} is kept warm and will be loaded again at the next model refresh; "
            "to have it stay out of memory, take it out of warm_models at /api/proxy/config."
        )


def _percent(state: str, completed_bytes: int, total_bytes: int) -> float | None:
    """A pull is at 100 when the node has said so, not when the last byte has come."""
    if state == State.SUCCEEDED:
        return 100.0
    so_far = percent(completed_bytes, total_bytes)
    return None if so_far is None else min(so_far, 99.9)


class LoadedCellSerializer(serializers.Serializer[Any]):
    """A model in a node's memory."""

    size_bytes = serializers.IntegerField()
    size_vram_bytes = serializers.IntegerField()
    context_length = serializers.IntegerField()
    expires_at = serializers.CharField()


class JobCellSerializer(serializers.Serializer[Any]):
    """What is being done."""

    id = serializers.UUIDField()
    kind = serializers.ChoiceField(choices=KINDS)
    state = serializers.ChoiceField(choices=PART_STATES)
    percent = serializers.FloatField(allow_null=True)


class CellSerializer(serializers.Serializer[Any]):
    """A model at a node. What does not apply is left out."""

    node_id = serializers.UUIDField()
    node = serializers.CharField()
    state = serializers.ChoiceField(choices=PLACES)
    digest = serializers.CharField(required=False)
    drifts = serializers.BooleanField(
        required=False, help_text="Another version than most nodes have."
    )
    size_bytes = serializers.IntegerField(required=False)
    modified_at = serializers.CharField(required=False)
    loaded = LoadedCellSerializer(required=False)
    job = JobCellSerializer(required=False)


class RowSerializer(serializers.Serializer[Any]):
    """A model and where it is."""

    model = serializers.CharField()
    canonical = serializers.CharField()
    has_drift = serializers.BooleanField(help_text="Nodes have different versions of it.")
    digests = serializers.DictField(
        child=serializers.IntegerField(), help_text="Version -> how many nodes have it."
    )
    nodes = CellSerializer(many=True)


class WarmNodeSerializer(serializers.Serializer[Any]):
    """How a node that has the model on disk stands to it."""

    node_id = serializers.UUIDField()
    node = serializers.CharField()
    standing = serializers.ChoiceField(choices=STANDINGS)
    detail = serializers.CharField(help_text="The same in a sentence, and what to do.")
    not_before = serializers.DateTimeField(
        allow_null=True, help_text="With `waiting`: when it may be tried again."
    )


class WarmSerializer(serializers.Serializer[Any]):
    """A model that is to be kept warm."""

    model = serializers.CharField()
    canonical = serializers.CharField()
    wanted = serializers.IntegerField(help_text="Nodes that shall hold it in memory.")
    warm = serializers.IntegerField(help_text="Nodes of the active pool that do.")
    loading = serializers.IntegerField()
    missing = serializers.IntegerField(help_text="Copies neither there nor on their way.")
    detail = serializers.CharField(help_text="Why copies are missing, and what to do.")
    nodes = WarmNodeSerializer(many=True)
