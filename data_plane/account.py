"""What this instance says of itself: in its reports, at its health routes, in its metrics."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import TYPE_CHECKING

import msgspec

from data_plane.lifecycle import Phase
from shared.reports import NodeReport, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from data_plane.admission.gate import Gate
    from data_plane.admission.queue import Queue
    from data_plane.lifecycle import Lifecycle
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.waiting import Held
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.model_circuit import ModelCircuits
    from data_plane.routing.policy import Policy
    from data_plane.sync.applied import AppliedState
    from data_plane.telemetry.logs import Sink
    from data_plane.telemetry.metrics import Sample
    from data_plane.upstream.lease import Leases
    from data_plane.upstream.probe import Latencies
    from shared.flights import Flights


def _version() -> str:
    try:
        return version_of("aivonx-proxy")
    except PackageNotFoundError:  # started from a checkout, which is not installed
        return "dev"


class Account:
    """Reads what others keep; keeps nothing. `is_ready` says whether all health checks are fine."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        instance: str,
        state: AppliedState,
        lifecycle: Lifecycle,
        gate: Gate,
        leases: Leases,
        policy: Policy,
        latencies: Latencies,
        circuits: Circuits,
        models: ModelCircuits,
        findings: Findings,
        queue: Queue[Held],
        sink: Sink,
        is_ready: Callable[[], bool],
    ) -> None:
        self._instance = instance
        self._state = state
        self._lifecycle = lifecycle
        self._gate = gate
        self._leases = leases
        self._policy = policy
        self._latencies = latencies
        self._circuits = circuits
        self._models = models
        self._findings = findings
        self._queue = queue
        self._sink = sink
        self._is_ready = is_ready

    def report(self) -> Report:
        """What is reported to the control plane and to other instances."""
        view = self._state.current
        return Report(
            instance=self._instance,
            version=_version(),
            host=socket.gethostname(),
            pid=os.getpid(),
            started_at=self._lifecycle.started_at,
            reported_at=time.time(),
            epoch=view.snapshot.epoch if view else "",
            revision=view.snapshot.revision if view else 0,
            ready=self._is_ready(),
            draining=self._lifecycle.is_draining,
            requests_total=self._gate.requests_total,
            nodes={node_id: self._node_report(node_id) for node_id in view.pools.nodes}
            if view
            else {},
            refused=self._state.refused,
            refresh_wanted=self._findings.refresh_wanted(),
        )

    def flights(self) -> Flights | None:
        """What other instances are told besides; None: no strategy has a use for it."""
        view = self._state.current
        if view is None or not view.pools.predicts:
            return None
        now = asyncio.get_running_loop().time()
        return self._policy.fleet.flights(self._leases.own_counts(), now)

    def _node_report(self, node_id: str) -> NodeReport:
        latency_s = self._latencies.values.get(node_id)
        return NodeReport(
            active_count=self._leases.own_count(node_id),
            latency_s=round(latency_s, 6) if latency_s is not None else None,
            standby=self._circuits.reasons.get(node_id),
        )

    def why_not_serving(self) -> str:
        """The phase, unless it is the one that serves; a health check."""
        phase = self._lifecycle.phase
        return "" if phase is Phase.SERVING else phase.value

    def why_no_snapshot(self) -> str:
        """Empty once a snapshot is in force; a health check."""
        return "" if self._state.current is not None else "no snapshot has been applied"

    def facts(self) -> dict[str, object]:
        """What the health routes tell besides the checks."""
        view = self._state.current
        return {
            "instance": self._instance,
            "pid": os.getpid(),
            "epoch": view.snapshot.epoch if view else None,
            "revision": view.snapshot.revision if view else None,
            "applied_at": view.applied_at if view else None,
            "refused": msgspec.to_builtins(self._state.refused),
            "in_flight": self._gate.in_flight,
            "active_nodes": len(view.pools.active) if view else 0,
            "down": dict(self._circuits.reasons),
            "failing_models": [
                {"node": node_id, "model": model, "reason": reason}
                for (node_id, model), reason in self._models.reasons().items()
            ],
        }

    def samples(self) -> Iterator[Sample]:
        """Metrics that are read when somebody asks, as (name, help, labels, values)."""
        view = self._state.current
        nodes = view.pools.nodes.values() if view else ()
        down = self._circuits.down
        yield (
            "active_requests",
            "Requests of this instance at each node.",
            ("node",),
            [((node.name,), self._leases.own_count(node.id)) for node in nodes],
        )
        yield (
            "node_active",
            "1 while the node is in the active pool of this instance.",
            ("node",),
            [((node.name,), int(node.standby is None and node.id not in down)) for node in nodes],
        )
        yield (
            "failing_models",
            "Models that each node fails with, by the circuits of this instance.",
            ("node",),
            [
                ((node.name,), sum(node.id in failing for failing in self._models.open.values()))
                for node in nodes
            ],
        )
        yield (
            "node_latency_seconds",
            "Moving mean of probes.",
            ("node",),
            [
                ((node.name,), self._latencies.values[node.id])
                for node in nodes
                if node.id in self._latencies.values
            ],
        )
        yield "in_flight", "Requests being served.", (), [((), self._gate.in_flight)]
        yield "connections", "Connections of clients.", (), [((), self._gate.connections)]
        yield "retrying", "Requests on a further attempt.", (), [((), self._gate.retrying)]
        yield "waiting", "Requests held until a slot is free.", (), [((), self._queue.size)]
        yield "body_bytes", "Request bodies held in memory.", (), [((), self._gate.body_bytes)]
        yield "spool_bytes", "Request bodies on disk.", (), [((), self._gate.spool_bytes)]
        yield "tasks", "Named tasks alive.", (), [((), self._lifecycle.task_count)]
        yield "ready", "1 while ready.", (), [((), int(self._is_ready()))]
        yield (
            "log_lines_dropped_total",
            "Log lines that did not fit.",
            (),
            [((), self._sink.dropped)],
        )
        yield (
            "applied_revision",
            "Revision in force.",
            (),
            [((), view.snapshot.revision if view else 0)],
        )
        yield (
            "snapshot_age_seconds",
            "Since the snapshot in force was built.",
            (),
            [((), time.time() - view.snapshot.built_at if view else 0)],
        )
