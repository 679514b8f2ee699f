"""The one row of the proxy config. Its fields are those of `shared.snapshot.ProxyConfig`.

The ranges stand here once: the API checks them and the schema shows them. `None` as a row means
"defaults", so that an empty database works.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Final

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models

from shared.model_names import InvalidModelNameError, canonical_name
from shared.snapshot import DriftPolicy, Strategy
from shared.snapshot import ProxyConfig as Defaults

if TYPE_CHECKING:
    from collections.abc import Callable

ROW: Final = 1
_DEFAULTS: Final = Defaults()

STRATEGIES: Final = (
    (Strategy.LEAST_ACTIVE.value, "fewest active requests over weight"),
    (Strategy.LOWEST_LATENCY.value, "shortest wait plus measured first byte"),
    (Strategy.PREDICTED.value, "least predicted seconds, for the request and for others"),
)

DRIFT_POLICIES: Final = (
    (DriftPolicy.MAJORITY.value, "the version that most active nodes have"),
    (DriftPolicy.NEWEST.value, "the version that was copied to a node last"),
    (DriftPolicy.ANY.value, "whichever the chosen node has; for embeddings the majority's"),
)

MAX_MODEL_STRATEGIES: Final = 200
MAX_PATTERN_CHARS: Final = 512
MAX_PATTERN_WILDCARDS: Final = 8
"""The data planes hold every pattern against every model's name."""
MAX_WARM_MODELS: Final = 100
MAX_WARM_COPIES: Final = 1_000


def validate_finite(value: float) -> None:
    """Refuse NaN and the infinities, which pass every comparison with a range."""
    if not math.isfinite(value):
        msg = "Give a finite number."
        raise ValidationError(msg)


def validate_model_strategies(value: object) -> None:
    """Refuse what the data planes could not go by."""
    known = [strategy.value for strategy in Strategy]
    if not isinstance(value, dict) or len(value) > MAX_MODEL_STRATEGIES:
        msg = f"Give an object of at most {MAX_MODEL_STRATEGIES} patterns, each with a strategy."
        raise ValidationError(msg)
    for pattern, strategy in value.items():
        if not _is_pattern(pattern):
            msg = (
                "A pattern is a model's name or a glob such as registry.ollama.ai/library/qwen3:*."
            )
            raise ValidationError(msg)
        if strategy not in known:
            msg = f"Give each pattern one of {', '.join(known)}."
            raise ValidationError(msg)


def _is_pattern(text: str) -> bool:
    """Whether names could be held against it, and every database keep it."""
    is_text = 0 < len(text) <= MAX_PATTERN_CHARS and text.isascii() and text.isprintable()
    return is_text and sum(map(text.count, "*?[")) <= MAX_PATTERN_WILDCARDS


def validate_warm_models(value: object) -> None:
    """Refuse what is no model, no number of copies, or one model in two spellings."""
    if not isinstance(value, dict) or len(value) > MAX_WARM_MODELS:
        msg = f"Give an object of at most {MAX_WARM_MODELS} models, each with a number of copies."
        raise ValidationError(msg)
    spelt: dict[str, str] = {}
    for name, copies in value.items():
        try:
            canonical = canonical_name(name)
        except InvalidModelNameError as error:
            msg = f"{name[:64]!r} is no model name; give one such as qwen3:8b, without wildcards."
            raise ValidationError(msg) from error
        if type(copies) is not int or not 1 <= copies <= MAX_WARM_COPIES:
            msg = f"Give {name[:64]!r} a number of copies from 1 to {MAX_WARM_COPIES}."
            raise ValidationError(msg)
        if canonical in spelt:
            msg = f"{name[:64]!r} and {spelt[canonical][:64]!r} are one model; give it once."
            raise ValidationError(msg)
        spelt[canonical] = name


def _seconds(
    default: float, minimum: float, maximum: float, help_text: str
) -> models.FloatField[float, float]:
    ranges: list[Callable[[float], None]] = [
        validate_finite,
        MinValueValidator(minimum),
        MaxValueValidator(maximum),
    ]
    return models.FloatField(default=default, validators=ranges, help_text=help_text)


def _count(default: int, help_text: str) -> models.PositiveSmallIntegerField[int, int]:
    ranges = [MinValueValidator(1), MaxValueValidator(20)]
    return models.PositiveSmallIntegerField(default=default, validators=ranges, help_text=help_text)


class ProxyConfig(models.Model):
    """What operators may tune while everything runs."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=ROW, editable=False)
    strategy = models.CharField(
        max_length=32,
        choices=STRATEGIES,
        default=_DEFAULTS.strategy.value,
        help_text="How a node is chosen among those that have the model.",
    )
    model_strategies = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_model_strategies],
        help_text="Strategies of their own for some models: canonical names or globs, each with "
        "its strategy. A name comes before globs, a longer glob before a shorter one.",
    )
    digest_drift = models.CharField(
        max_length=16,
        choices=DRIFT_POLICIES,
        default=_DEFAULTS.digest_drift.value,
        help_text="Which version of a model is served where nodes have different ones.",
    )
    explain = models.BooleanField(
        default=_DEFAULTS.explain,
        help_text="Say in the header X-Aivonx-Reason of each answer why its node was chosen.",
    )
    max_waiting = models.PositiveIntegerField(
        default=_DEFAULTS.max_waiting,
        validators=[MaxValueValidator(100_000)],
        help_text="Requests that each data plane holds at most until a slot is free, under the "
        "strategy predicted; 0 holds none: they queue at the nodes.",
    )
    max_wait_s = _seconds(
        _DEFAULTS.max_wait_s,
        0.1,
        86_400,
        "How long a request may be held; one that would be held longer is refused at once.",
    )
    pull_replicas = models.PositiveIntegerField(
        default=_DEFAULTS.pull_replicas,
        validators=[MaxValueValidator(1_000)],
        help_text="Nodes that a pull or create is for that says nothing of nodes: so many of the "
        "active pool, those that have the model first (and all of these), then those with the "
        "fewest models; 0: every one.",
    )
    health_interval_s = _seconds(
        _DEFAULTS.health_interval_s, 0.5, 3_600, "Between two health sweeps over all nodes."
    )
    health_path = models.CharField(
        max_length=128,
        default=_DEFAULTS.health_path,
        validators=[
            RegexValidator(r"\A(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)+\Z", "Give a plain path.")
        ],
        help_text="Asked by the sweep. A node that answers 404 there is asked /api/version.",
    )
    model_refresh_interval_s = _seconds(
        _DEFAULTS.model_refresh_interval_s,
        0.5,
        86_400,
        "Between two looks at which models a node has on disk and in memory.",
    )
    probe_timeout_s = _seconds(
        _DEFAULTS.probe_timeout_s, 0.05, 60, "How long one probe of a node may take."
    )
    probe_interval_s = _seconds(
        _DEFAULTS.probe_interval_s,
        0.05,
        300,
        "How often a data plane probes a node in standby, or one that keeps a request waiting.",
    )
    fall = _count(_DEFAULTS.fall, "Failed probes in a row until a node counts as down.")
    rise = _count(_DEFAULTS.rise, "Good probes in a row until it is back.")
    connect_timeout_s = _seconds(
        _DEFAULTS.connect_timeout_s, 0.05, 60, "How long a data plane waits for a connection."
    )
    max_attempts = _count(
        _DEFAULTS.max_attempts, "Different nodes tried for one request before its first byte."
    )
    stream_idle_timeout_s = _seconds(
        _DEFAULTS.stream_idle_timeout_s,
        0,
        86_400,
        "Silence within a begun answer until it is given up; 0 waits for ever.",
    )
    client_stall_timeout_s = _seconds(
        _DEFAULTS.client_stall_timeout_s,
        0.1,
        86_400,
        "How long a client may leave bytes unread before its request is cancelled.",
    )
    filler_sse_s = _seconds(
        _DEFAULTS.filler_sse_s,
        0,
        3_600,
        "Silence of a streamed /v1 answer until a comment is sent, so that no load balancer gives "
        "up; 0 never. Status 200 is said before the node has answered; failures then stand within "
        "the stream.",
    )
    filler_ndjson_s = _seconds(
        _DEFAULTS.filler_ndjson_s,
        0,
        3_600,
        "The same for streamed /api answers, with spaces before the next record; 0 never. A client "
        "that parses lines by hand may choke on them.",
    )
    warm_models = models.JSONField(
        default=dict,
        blank=True,
        validators=[validate_warm_models],
        help_text="Models to keep in memory: each with the number of nodes that shall hold it. "
        "They are loaded at the model refresh, where that pushes out nothing that is kept or was "
        "used within five minutes; see /api/proxy/models/warm.",
    )
    revision = models.PositiveBigIntegerField(
        default=0,
        editable=False,
        help_text="Edits so far. Send it back (or as If-Match) to refuse an edit of older data.",
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        """One row, kept by the database."""

        verbose_name = "proxy config"
        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id=ROW), name="proxy_config_one_row"),
        ]

    def __str__(self) -> str:
        """Name it."""
        return "proxy config"
