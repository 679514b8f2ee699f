"""The composition root: the only place where objects are built and wired."""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Final

from aiohttp import web

from data_plane import native
from data_plane.account import Account
from data_plane.admission.gate import Gate
from data_plane.admission.hosts import Hosts
from data_plane.admission.identify import Identifier
from data_plane.admission.limits import KeyLimits
from data_plane.admission.origins import Origins
from data_plane.admission.pressure import MemoryPressure
from data_plane.admission.queue import Queue
from data_plane.admission.shares import Shares
from data_plane.host.board import HostCounts
from data_plane.host.descriptors import clients_within
from data_plane.host.listening import LAST_WORDS_S, Doors, bound
from data_plane.host.memory import MemoryLimits
from data_plane.lifecycle import Lifecycle, Phase
from data_plane.proxy.attempts import Attempts
from data_plane.proxy.blobs import Blobs
from data_plane.proxy.cloud_status import CloudStatus
from data_plane.proxy.detours import Detours
from data_plane.proxy.findings import Findings
from data_plane.proxy.foresight import Foresight
from data_plane.proxy.handler import Handler
from data_plane.proxy.judgement import Judgement
from data_plane.proxy.loading import Loading
from data_plane.proxy.management import Management
from data_plane.proxy.orders import Orders
from data_plane.proxy.preloading import Preloading
from data_plane.proxy.reception import Reception
from data_plane.proxy.recommendations import Recommendations
from data_plane.proxy.relisting import Relisting
from data_plane.proxy.selection import Selection
from data_plane.proxy.server import Server, require_safe_aiohttp
from data_plane.proxy.shards import Shards
from data_plane.proxy.shelf import Shelf
from data_plane.proxy.shows import ShowCache, Shows
from data_plane.proxy.troubles import LOAD_HANGS, Troubles
from data_plane.proxy.unloading import Unloading
from data_plane.proxy.waiting import WaitingRoom
from data_plane.routing.circuit import Circuits
from data_plane.routing.model_circuit import ModelCircuits
from data_plane.routing.policy import Policy
from data_plane.routing.pools import key_of
from data_plane.sync.applied import AppliedState
from data_plane.sync.learned import Left, Memory
from data_plane.sync.questions import Respondent
from data_plane.sync.reporter import Reporter
from data_plane.sync.subscriber import Subscriber, connect
from data_plane.telemetry.health import Health, LoopLag
from data_plane.telemetry.metrics import Metrics
from data_plane.upstream.faults import Fault
from data_plane.upstream.forward import Forwarder
from data_plane.upstream.lease import Leases
from data_plane.upstream.probe import Latencies, Prober
from data_plane.upstream.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from data_plane.host.place import Place
    from data_plane.proxy.waiting import Held
    from data_plane.settings import Settings
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.logs import Log
    from shared.flights import Flights
    from shared.snapshot import LoadedModel

STALE_VERDICTS_S: Final = 30.0
"""A sweep that is late by more than this has nothing to say about which nodes are down now."""


class App:
    """One data plane, or one worker of it. Built inside the running loop."""

    def __init__(self, settings: Settings, log: Log, place: Place | None = None) -> None:
        require_safe_aiohttp()
        self.settings = settings
        self.log = log
        self.place = place
        self.metrics = Metrics()
        self.lifecycle = Lifecycle(self._task_failed)
        self.gate = Gate(
            settings.body_budget_bytes,
            settings.spool_budget_bytes,
            settings.data_dir / "data_plane",
            max_active=settings.max_active,
            max_connections=clients_within(settings.max_connections),
        )
        self.pressure = MemoryPressure(
            MemoryLimits(settings.max_memory_bytes), self.gate, log, self.metrics
        )
        self.limits = KeyLimits(asyncio.get_running_loop().time)
        self.shares = Shares()
        self.queue: Queue[Held] = Queue(self.shares)
        self.leases = Leases(HostCounts(place.board, place.number) if place else None)
        self.latencies = Latencies()
        self.circuits = Circuits()
        self.model_circuits = ModelCircuits()
        self.lag = LoopLag(self.metrics)
        self.state = AppliedState(
            settings.snapshot_key, settings.data_dir / "data_plane", log, self.metrics
        )
        self.policy = Policy(
            random.random,
            loads=lambda: self.leases.counts,
            journal=self.leases.journal,
            latencies=self.latencies.values,
            slow_start_s=settings.slow_start_s,
        )
        self.redis = connect(settings.redis_url)
        left = Left(self.redis, settings.instance)
        self.memory = Memory(self.policy, settings.data_dir / "data_plane", left, log, self.metrics)
        self._wire_upstream()
        self.account = Account(
            instance=settings.instance,
            state=self.state,
            lifecycle=self.lifecycle,
            gate=self.gate,
            leases=self.leases,
            policy=self.policy,
            latencies=self.latencies,
            circuits=self.circuits,
            models=self.model_circuits,
            findings=self.findings,
            queue=self.queue,
            sink=log.sink,
            is_ready=lambda: self.health.is_ready,
        )
        self._wire_sync()
        self._wire_path()
        self.state.on_applied(self._applied)
        self.metrics.watch(self.account.samples)
        self._sweep_finished_at = 0.0
        self.doors = Doors()

    def _wire_upstream(self) -> None:
        settings = self.settings
        self.forwarder = Forwarder(settings.address_policy, settings.node_token_keys)
        self.prober = Prober(self.forwarder)
        self.orders = Orders(self.forwarder, self.prober, self.metrics)
        self.watch = Watch(
            leases=self.leases,
            prober=self.prober,
            circuits=self.circuits,
            latencies=self.latencies,
            lifecycle=self.lifecycle,
            log=self.log,
            metrics=self.metrics,
            dice=random.random,
        )
        self.findings = Findings(self.prober, self.lifecycle)
        self.findings.on_look(self._looked)
        self.troubles = Troubles(
            self.model_circuits, self.log, self.metrics, asyncio.get_running_loop().time
        )
        self.watch.on_return(self._returned)
        self.memory.on_hang(self._load_hangs)

    def _wire_sync(self) -> None:
        settings = self.settings
        self.respondent = Respondent(
            redis=self.redis,
            instance=settings.instance,
            answer=lambda question: self.foresight.answer(question),  # noqa: PLW0108 - made later
            log=self.log,
            metrics=self.metrics,
        )
        self.subscriber = Subscriber(
            redis=self.redis,
            state=self.state,
            on_question=self.respondent.hear,
            log=self.log,
            metrics=self.metrics,
            interval_s=settings.sync_interval_s,
        )
        self.reporter = Reporter(
            redis=self.redis,
            make_report=self.account.report,
            make_flights=self.account.flights,
            ear=self,
            log=self.log,
            metrics=self.metrics,
            interval_s=settings.report_interval_s,
            mates=self.place.mates if self.place else frozenset(),
        )

    def _wire_management(self) -> Management:
        relisting = Relisting(
            prober=self.prober,
            state=self.state,
            findings=self.findings,
            redis=self.redis,
            lifecycle=self.lifecycle,
            metrics=self.metrics,
            shows=self.shows,
            models=self.model_circuits,
        )
        blobs = Blobs(self.orders, self.circuits)
        return Management(self.orders, blobs, relisting, self.circuits, self.settings.registries)

    def _wire_path(self) -> None:
        settings = self.settings
        self.shows = ShowCache()
        self.selection = Selection(
            policy=self.policy,
            leases=self.leases,
            circuits=self.circuits,
            models=self.model_circuits,
            findings=self.findings,
            dice=random.random,
        )
        self.foresight = Foresight(
            instance=settings.instance,
            state=self.state,
            policy=self.policy,
            selection=self.selection,
            leases=self.leases,
            circuits=self.circuits,
            models=self.model_circuits,
            findings=self.findings,
            queue=self.queue,
            now=asyncio.get_running_loop().time,
        )
        self.room = WaitingRoom(
            queue=self.queue,
            shares=self.shares,
            state=self.state,
            selection=self.selection,
            preloading=Preloading(
                policy=self.policy,
                selection=self.selection,
                orders=self.orders,
                leases=self.leases,
                findings=self.findings,
                lifecycle=self.lifecycle,
                log=self.log,
                metrics=self.metrics,
            ),
            metrics=self.metrics,
        )
        self.attempts = Attempts(
            forwarder=self.forwarder,
            leases=self.leases,
            policy=self.policy,
            circuits=self.circuits,
            findings=self.findings,
            selection=self.selection,
            judgement=Judgement(self.findings, self.watch, self.troubles),
            room=self.room,
            gate=self.gate,
            metrics=self.metrics,
        )
        reception = Reception(
            state=self.state,
            lifecycle=self.lifecycle,
            identifier=Identifier(is_key_always_required=not settings.proxy_bind.is_loopback),
            origins=Origins(settings.origins),
            hosts=Hosts(settings.hosts),
            gate=self.gate,
            limits=self.limits,
            shelf=Shelf(self.findings, self.circuits),
            max_body_bytes=settings.max_body_bytes,
        )
        self.handler = Handler(
            reception=reception,
            lifecycle=self.lifecycle,
            gate=self.gate,
            attempts=self.attempts,
            management=self._wire_management(),
            cloud_status=CloudStatus(self.prober),
            recommendations=Recommendations(self.prober),
            detours=Detours(
                self.attempts,
                Loading(self.attempts, self.gate, self.circuits),
                Unloading(self.forwarder, self.findings, self.circuits),
                Shows(self.attempts, self.gate, self.shows),
                Shards(self.attempts, self.gate, self.circuits),
            ),
            log=self.log,
            metrics=self.metrics,
        )
        self.health = Health(
            self.metrics,
            (
                ("phase", self.account.why_not_serving),
                ("snapshot", self.account.why_no_snapshot),
                ("loop", self.lag.why_not_ready),
                ("memory", self.pressure.why_not_ready),
            ),
            self.account.facts,
        )

    # Starting and stopping

    async def start(self) -> None:
        """Find the snapshot, then listen. With neither Redis nor disk: alive, and not ready."""
        await self._listen_health()
        await self.memory.recall()
        await self.state.load_last_good()
        await self.subscriber.read_once()
        spawn = self.lifecycle.spawn
        spawn("loop-lag", self.lag.watch())
        spawn("pressure", self.pressure.watch())
        spawn("watch", self.watch.run())
        spawn("listen", self.subscriber.listen())
        spawn("follow", self.subscriber.follow())
        spawn("report", self.reporter.run())
        spawn("questions", self.respondent.run())
        spawn("memory", self.memory.run(asyncio.get_running_loop().time))
        await self.doors.open(
            Server(self.handler),
            bound(self.settings.proxy_bind, shares_port=self.place is not None),
        )
        self.lifecycle.advance(Phase.SERVING)
        if self.gate.max_connections < self.settings.max_connections:
            self.log.warning(
                "connections_limited",
                wanted=self.settings.max_connections,
                possible=self.gate.max_connections,
                detail="raise `ulimit -Hn` or lower AIVONX_MAX_CONNECTIONS",
            )
        self.log.info(
            "listening",
            proxy=self.doors.names[-1],
            metrics=None if self.place else self.doors.names[0],
            instance=self.settings.instance,
            pid=os.getpid(),
            native=native.is_used(),
        )

    async def _listen_health(self) -> None:
        server = web.Server(self.health.answer, access_log=None)
        place = self.place
        await self.doors.open(server, place.health if place else bound(self.settings.metrics_bind))

    @property
    def ports(self) -> tuple[int, int]:
        """The ports of the proxy and of the metrics, as they are bound."""
        metrics, proxy = self.doors.ports
        return proxy, metrics

    async def drain(self) -> None:
        """Not ready at once; then stop accepting; let answers finish; end the rest visibly."""
        self.lifecycle.advance(Phase.DRAINING)
        self.log.info("draining", in_flight=self.gate.in_flight)
        await asyncio.sleep(self.settings.drain_delay_s)
        await self.doors.shut_out()
        await self._until_idle(self.settings.drain_timeout_s)
        self.lifecycle.advance(Phase.CLOSING)
        self.room.close()
        for lease in self.leases:
            lease.let_go(Fault.SHUTDOWN)
        await self._until_idle(LAST_WORDS_S)

    async def _until_idle(self, limit_s: float) -> None:
        deadline = asyncio.get_running_loop().time() + limit_s
        # A poll, so that the path pays nothing for the drain.
        while (  # noqa: ASYNC110 - see above
            self.gate.in_flight and asyncio.get_running_loop().time() < deadline
        ):
            await asyncio.sleep(0.02)

    async def stop(self) -> None:
        """Give everything back."""
        await self.doors.close()
        await self.lifecycle.end_tasks()
        await self.memory.keep()
        await self.reporter.withdraw()  # when nobody is left who would report once more
        await self.forwarder.close()
        await self.redis.aclose()
        self.log.info("stopped", requests_total=self.gate.requests_total)

    # What others ask

    def _task_failed(self, name: str, error: BaseException) -> None:
        self.log.error("task_failed", error=error, task=name)
        if name in {"loop-lag", "pressure", "watch", "listen", "follow", "report"}:
            # Without one of these the process serves ever staler state: better a restart.
            self.log.sink.close()
            os._exit(70)

    def _applied(self, before: Applied | None, after: Applied) -> None:
        self.watch.use(after.pools)
        self.findings.use(before.snapshot if before else None, after.snapshot, after.pools)
        self.troubles.use(after.pools)
        self.limits.keep(after.keys.keys())
        self.policy.use(after.pools, asyncio.get_running_loop().time())
        self.room.wake()
        known = frozenset(after.pools.nodes)
        self.latencies.forget(known)
        self.forwarder.forget(known)

    def _returned(self, node_id: str) -> None:
        self.model_circuits.forget(node_id)
        self.policy.slow_start.begin(node_id, asyncio.get_running_loop().time())

    def _load_hangs(self, node_id: str, key: str) -> None:
        view = self.state.current
        for entry in view.pools.models.values() if view is not None else ():
            if key_of(entry.model) == key:
                self.troubles.note(node_id, entry.canonical, LOAD_HANGS, is_certain=True)

    def _looked(self, node_id: str, loaded: tuple[LoadedModel, ...]) -> None:
        self.policy.ps_seen(node_id, loaded, asyncio.get_running_loop().time())

    def others_reported(self, counts: Mapping[str, int], flights: Mapping[str, Flights]) -> None:
        """What other instances do at each node, and for which models."""
        self.leases.others_reported(counts)
        self.policy.fleet.heard(flights, asyncio.get_running_loop().time())
        self._judge_verdicts()

    def sweep_reported(self, latencies: Mapping[str, float], finished_at: float) -> None:
        """What the health sweep measured, and when it last finished."""
        self.latencies.sweep_reported(latencies)
        self._sweep_finished_at = finished_at
        self._judge_verdicts()

    def _judge_verdicts(self) -> None:
        view = self.state.current
        interval_s = view.config.health_interval_s if view is not None else 0.0
        age_s = time.time() - self._sweep_finished_at
        self.selection.verdicts_are_stale = age_s > interval_s + STALE_VERDICTS_S
