"""The next node of a request: what the policy is asked, and who may not be chosen just now."""

from __future__ import annotations

import asyncio
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, Protocol

from data_plane.protocol.asks import Form
from data_plane.proxy.arrivals import arrival_of
from data_plane.routing.choose import Choice
from data_plane.routing.events import Arrival, Hold, NoNode
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from data_plane.protocol.asks import Ask
    from data_plane.proxy.failures import Failure
    from data_plane.proxy.findings import Findings
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.model_circuit import ModelCircuits
    from data_plane.routing.policy import Policy
    from data_plane.routing.preload import Preload
    from data_plane.sync.applied import Applied
    from data_plane.telemetry.record import Record
    from data_plane.upstream.lease import Leases

_NOBODY: Final[frozenset[str]] = frozenset()
_NO_ONE: Final[Mapping[str, int]] = MappingProxyType({})


class Seeker(Protocol):
    """Whoever looks for a node: a job, or a question about one."""

    view: Applied
    ask: Ask
    tried: set[str]
    failures: set[Failure]
    arrival: Arrival | None
    record: Record


def may_wait(job: Seeker) -> bool:
    """Whether it may be held: what takes a slot, unless it has lost a node already, which it has
    waited for.
    """
    return job.ask.form is Form.RUN and not job.failures and job.view.config.max_waiting > 0


class Selection:
    """Asks the policy for nodes. Made inside the running loop."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        policy: Policy,
        leases: Leases,
        circuits: Circuits,
        models: ModelCircuits,
        findings: Findings,
        dice: Callable[[], float],
    ) -> None:
        self._policy = policy
        self._rankings = policy.rankings
        self._leases = leases
        self._circuits = circuits
        self._models = models
        self._failing = models.open
        self._dice = dice
        self._findings = findings
        self._now = asyncio.get_running_loop().time
        self.verdicts_are_stale = True
        """Whether the health sweep has been silent for so long that its word may be ignored."""

    def choose(
        self, job: Seeker, ahead: Mapping[str, int] = _NO_ONE, *, is_preview: bool = False
    ) -> Choice | Hold | NoNode:
        """The next node. First without those that are too old for what is asked; then with them.
        `ahead` are requests for the model that are held and come first, by the node they wait for.
        Of a preview nothing is remembered.
        """
        pools, least = job.view.pools, job.ask.least
        if least > pools.oldest:
            choice = self._choose_beside(job, pools.older_than(least), ahead, is_preview)
            if not isinstance(choice, NoNode):
                return choice
        elif (
            not job.tried
            and not self._findings.speaks_against(job.ask.canonical)
            and job.ask.canonical not in self._failing
        ):
            ranked = self._rankings.choose(
                pools, job.ask.canonical, self._leases.counts, self._circuits.down
            )
            if ranked is not None:
                return ranked
        return self._choose_beside(job, _NOBODY, ahead, is_preview)

    def _choose_beside(
        self,
        job: Seeker,
        too_old: frozenset[str],
        ahead: Mapping[str, int],
        is_preview: bool,  # noqa: FBT001 - handed on by `choose` alone
    ) -> Choice | Hold | NoNode:
        """First without those that asked for a pause or fail with the model; then with those that
        asked for a pause, for they can do it; then with all.
        """
        model, now = job.ask.canonical, self._now()
        excluded = self._findings.without(model) | job.tried | too_old
        busy, failing = self._findings.busy(now), self._models.avoided(model, now)
        beside = busy | failing
        choice = self._choose_among(job, excluded | beside if beside else excluded, ahead)
        if isinstance(choice, NoNode) and busy and failing:
            choice = self._choose_among(job, excluded | failing, ahead)
        if isinstance(choice, NoNode) and beside:
            choice = self._choose_among(job, excluded, ahead)
        if isinstance(choice, NoNode) and choice.only_verdicts and self.verdicts_are_stale:
            choice = self._choose_among(job, excluded, ahead, panic=True)
        if model in self._failing and isinstance(choice, Choice) and not is_preview:
            self._models.tried(choice.node.id, model, now, self._dice)
        return choice

    def _choose_among(
        self,
        job: Seeker,
        excluded: frozenset[str],
        ahead: Mapping[str, int],
        *,
        panic: bool = False,
    ) -> Choice | Hold | NoNode:
        return self._policy.choose(
            self.arrival(job),
            self._now(),
            excluded=excluded,
            down=self._circuits.down,
            may_hold=may_wait(job),
            ahead=ahead,
            same_digest=job.ask.route.same_digest_only,
            panic=panic,
            pools=job.view.pools,
        )

    def preload(
        self, job: Seeker, held: int, wait_s: float, unfit: frozenset[str]
    ) -> Preload | None:
        """Which node should load the job's model for those that are held: see `Policy.preload`.
        `unfit` are nodes that shall not.
        """
        pools, model, now = job.view.pools, job.ask.canonical, self._now()
        excluded = self._findings.without(model) | pools.older_than(job.ask.least) | unfit
        excluded |= self._findings.busy(now) | self._models.avoided(model, now)
        return self._policy.preload(
            self.arrival(job),
            held,
            wait_s,
            now,
            excluded=excluded | self._circuits.down,
            pools=pools,
        )

    @staticmethod
    def arrival(job: Seeker) -> Arrival:
        """What the policy is asked for; kept where it wants to hear how the request goes."""
        if job.arrival is not None:
            return job.arrival
        pools, ask = job.view.pools, job.ask
        strategy = pools.strategy_of(ask.canonical)
        if strategy is Strategy.LEAST_ACTIVE:
            return Arrival(canonical=ask.canonical)
        with_prompt = strategy is Strategy.PREDICTED
        job.arrival = arrival_of(ask, pools, job.record.key_id, with_prompt=with_prompt)
        return job.arrival
