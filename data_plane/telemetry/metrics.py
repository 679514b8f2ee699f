"""Every metric: its name, its labels, and what it says. Labels are bounded: routes come from the
table, nodes and models from the snapshot, the rest from enums.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from math import exp
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from data_plane.telemetry.record import Record

    Sample = tuple[str, str, tuple[str, ...], Iterable[tuple[tuple[str, ...], float]]]
    """Name, help, label names, and pairs of label values and value."""

_SECONDS: Final[tuple[float, ...]] = (
    *(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
NOT_ADDED: Final[Mapping[str, Callable[[Iterable[float]], float]]] = {
    "aivonx_redis_up": min,
    "aivonx_node_active": min,
    "aivonx_applied_revision": min,
    "aivonx_snapshot_age_seconds": max,
    "aivonx_node_latency_seconds": max,
    "aivonx_loop_lag_seconds": max,
    "aivonx_memory_used_ratio": max,
    "aivonx_memory_short": max,
    "aivonx_ready": max,
}
"""Gauges that mean nothing when the workers' values are added: the worst one counts; but one ready
worker makes the whole ready."""

OTHER: Final = "other"
MAX_CHILDREN: Final = 4_096
"""Label combinations kept per family; beyond it they count as `other`."""

COUNTED_TOGETHER: Final = 64
"""Requests that have ended and wait to be counted, at most."""


class Metrics:
    """The metrics of one process, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.registry.register(_Watched(self._settle))  # first, so that what follows is up to date
        self._requests = self._counter(
            "requests", "Requests by route, outcome and status.", "route", "outcome", "status"
        )
        self._ttft = Timings("aivonx_ttft_seconds", "From request to first answer byte.")
        self._duration = Timings("aivonx_request_seconds", "From request to last byte.")
        self.registry.register(self._ttft)
        self.registry.register(self._duration)
        self._prediction = Histogram(
            "aivonx_prediction_error_ratio",
            "Predicted or actual time to the first byte, the greater over the smaller (1: exact).",
            buckets=(1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0),
            registry=self.registry,
        )
        self._waited = Histogram(
            "aivonx_queue_wait_seconds",
            "What requests waited that were held until a slot was free.",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._queue_refused = self._counter(
            "queue_refused", "Requests refused instead of being held, by reason.", "reason"
        )
        self._preloads = self._counter(
            "preloads", "Models loaded for those that were held, by outcome.", "outcome"
        )
        self._tokens = self._counter("tokens", "Tokens as nodes counted them.", "model", "kind")
        self._attempts = self._counter("attempts", "Attempts at nodes by result.", "node", "result")
        self.retries_refused = self._counter(
            "retries_refused", "Retries not made because the retry budget was used up."
        )
        self._probes = self._counter("probes", "Probes of nodes by outcome.", "outcome")
        self._transitions = self._counter(
            "node_transitions", "Nodes moved by this instance's own eyes.", "to"
        )
        self._model_transitions = self._counter(
            "model_transitions", "Circuits of a model at a node that were opened or closed.", "to"
        )
        self.snapshots_applied = self._counter("snapshots_applied", "Snapshots applied.")
        self._refused = self._counter("snapshots_refused", "Snapshots refused by reason.", "reason")
        self.persist_errors = self._counter(
            "snapshot_persist_errors", "Failures to write the last good snapshot to disk."
        )
        self._redis_errors = self._counter("redis_errors", "Failed Redis calls.", "call")
        self._bad_requests = self._counter(
            "bad_requests", "Requests refused by the HTTP parser.", "status"
        )
        self.redis_up = Gauge(
            "aivonx_redis_up", "1 while subscribed to Redis.", registry=self.registry
        )
        self.loop_lag = Gauge(
            "aivonx_loop_lag_seconds", "Delay of the event loop's timers.", registry=self.registry
        )
        self.memory_ratio = Gauge(
            "aivonx_memory_used_ratio",
            "Memory used of the nearest limit (0 without one).",
            registry=self.registry,
        )
        self.memory_short = Gauge(
            "aivonx_memory_short", "1 while memory is short.", registry=self.registry
        )
        self._children: dict[tuple[object, ...], Counter] = {}
        self._ended: dict[tuple[str, str, int, str], list[int]] = {}
        """Requests, prompt and answer tokens by route, outcome, status and model."""

        self._uncounted: list[tuple[Record, float]] = []
        """Requests that have ended, and when."""

        self._attempted: dict[tuple[str, str], int] = {}

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"aivonx_{name}", text, labels, registry=self.registry)

    def _child(self, family: Counter, *labels: object) -> Counter:
        # `labels()` takes a lock and builds tuples each time; a dict of its answers does not.
        key = (family, *labels)
        child = self._children.get(key)
        if child is None:
            if len(self._children) >= MAX_CHILDREN:
                return family.labels(*[OTHER] * len(labels))
            child = self._children[key] = family.labels(*labels)
        return child

    def _settle(self) -> Iterable[Sample]:
        """Hand over to the library what was counted, without its lock, since somebody looked."""
        self._count_all()
        self._hand_over()
        return ()

    def _hand_over(self) -> None:
        ended, self._ended = self._ended, {}
        for (route, outcome, status, model), (count, prompt, answer) in ended.items():
            self._child(self._requests, route, outcome, status).inc(count)
            if prompt:
                self._child(self._tokens, model, "prompt").inc(prompt)
            if answer:
                self._child(self._tokens, model, "answer").inc(answer)
        attempted, self._attempted = self._attempted, {}
        for (node, result), count in attempted.items():
            self._child(self._attempts, node, result).inc(count)

    def predicted(self, error: float) -> None:
        """A prediction came due: log(actual / predicted)."""
        self._prediction.observe(exp(abs(error)))

    def waited(self, seconds: float) -> None:
        """A request waits no more."""
        self._waited.observe(seconds)

    def queue_refused(self, reason: str) -> None:
        """Count a request that is not held (any longer)."""
        self._child(self._queue_refused, reason).inc()

    def preload(self, outcome: str) -> None:
        """Count a load ahead of any request that has ended."""
        self._child(self._preloads, outcome).inc()

    def request(self, record: Record, now: float) -> None:
        """Count a request that has ended: with others, so that nobody waits for it who wants
        something else, and before anybody looks.
        """
        self._uncounted.append((record, now))
        if len(self._uncounted) >= COUNTED_TOGETHER:
            self._count_all()

    def _count_all(self) -> None:
        uncounted, self._uncounted = self._uncounted, []
        for record, now in uncounted:
            self._count(record, now)

    def _count(self, record: Record, now: float) -> None:
        route = record.route or OTHER
        key = (route, record.outcome or OTHER, record.status, record.model)
        tally = self._ended.get(key)
        if tally is None:
            if len(self._ended) >= MAX_CHILDREN:
                self._hand_over()
            tally = self._ended[key] = [0, 0, 0]
        tally[0] += 1
        if record.node:
            self._duration.observe(route, now - record.started_at)
            if record.first_byte_at:
                self._ttft.observe(route, record.first_byte_at - record.started_at)
        if record.prompt_tokens:
            tally[1] += record.prompt_tokens
        if record.answer_tokens:
            tally[2] += record.answer_tokens

    def attempt(self, node: str, result: str) -> None:
        """Count one attempt at a node."""
        key = (node, result)
        self._attempted[key] = self._attempted.get(key, 0) + 1
        if len(self._attempted) > MAX_CHILDREN:
            self._hand_over()

    def probe(self, outcome: str) -> None:
        """Count one probe."""
        self._child(self._probes, outcome).inc()

    def transition(self, to: str) -> None:
        """Count a node that this instance moved between the pools."""
        self._child(self._transitions, to).inc()

    def model_transition(self, to: str) -> None:
        """Count a circuit of a model at a node that this instance opened or closed."""
        self._child(self._model_transitions, to).inc()

    def refused(self, reason: str) -> None:
        """Count a snapshot that was not applied."""
        self._child(self._refused, reason).inc()

    def redis_error(self, call: str) -> None:
        """Count a Redis call that failed."""
        self._child(self._redis_errors, call).inc()

    def bad_request(self, status: int) -> None:
        """Count a request that the parser refused."""
        self._child(self._bad_requests, str(status)).inc()

    def watch(self, collect: Callable[[], Iterable[Sample]]) -> None:
        """Take further values from `collect` whenever somebody reads the metrics."""
        self.registry.register(_Watched(collect))

    def exposition(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class Timings:
    """How long things took, by route: the library's histogram without its lock and its loop."""

    def __init__(self, name: str, text: str) -> None:
        self._name = name
        self._text = text
        self._by_route: dict[str, tuple[list[int], list[float]]] = {}

    def observe(self, route: str, seconds: float) -> None:
        """One more value."""
        found = self._by_route.get(route)
        if found is None:
            found = self._by_route[route] = [0] * (len(_SECONDS) + 1), [0.0]
        counts, total = found
        counts[bisect_left(_SECONDS, seconds)] += 1
        total[0] += seconds

    def collect(self) -> Iterator[HistogramMetricFamily]:
        """Called by the registry."""
        family = HistogramMetricFamily(self._name, self._text, labels=("route",))
        for route, (counts, total) in self._by_route.items():
            bounds = [*map(str, _SECONDS), "+Inf"]
            family.add_metric(
                (route,), list(zip(bounds, accumulate(counts), strict=True)), total[0]
            )
        yield family

    def describe(self) -> list[HistogramMetricFamily]:
        """Its name, so that nothing else takes it."""
        return [HistogramMetricFamily(self._name, self._text, labels=("route",))]


class _Watched:
    """Values that live elsewhere and are read only when asked for."""

    def __init__(self, collect: Callable[[], Iterable[Sample]]) -> None:
        self._collect = collect

    def collect(self) -> Iterator[GaugeMetricFamily | CounterMetricFamily]:
        """Called by the registry."""
        for name, text, labels, values in self._collect():
            kind = CounterMetricFamily if name.endswith("_total") else GaugeMetricFamily
            family = kind(f"aivonx_{name.removesuffix('_total')}", text, labels=labels)
            for label_values, value in values:
                family.add_metric(label_values, value)
            yield family

    def describe(self) -> list[GaugeMetricFamily]:
        """Nothing ahead of time, so that registering reads nothing."""
        return []
