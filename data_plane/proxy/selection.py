"""The next node of a request: what the policy is asked, and who may not be chosen just now."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from data_plane.proxy.arrivals import arrival_of
from data_plane.routing.events import Arrival, Choice, Hold, NoNode
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.job import Job
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.policy import Policy
    from data_plane.upstream.lease import Leases

_NOBODY: Final[frozenset[str]] = frozenset()


class Selection:
    """Asks the policy for nodes. Made inside the running loop."""

    def __init__(
        self, *, policy: Policy, leases: Leases, circuits: Circuits, findings: Findings
    ) -> None:
        self._policy = policy
        self._rankings = policy.rankings
        self._leases = leases
        self._circuits = circuits
        self._findings = findings
        self._now = asyncio.get_running_loop().time
        self.verdicts_are_stale = True
        """Whether the health sweep has been silent for so long that its word may be ignored."""

    def choose(self, job: Job) -> Choice | NoNode:
        """The next node. First without those that are too old for what is asked; then with them."""
        pools, least = job.view.pools, job.ask.least
        if least > pools.oldest:
            choice = self._choose_beside(job, pools.older_than(least))
            if not isinstance(choice, NoNode):
                return choice
        elif not job.tried and not self._findings.speaks_against(job.ask.canonical):
            ranked = self._rankings.choose(
                pools, job.ask.canonical, self._leases.counts, self._circuits.down
            )
            if ranked is not None:
                return ranked
        return self._choose_beside(job, _NOBODY)

    def _choose_beside(self, job: Job, too_old: frozenset[str]) -> Choice | NoNode:
        """First without those that asked for a pause; then with them."""
        excluded = self._findings.without(job.ask.canonical) | job.tried | too_old
        busy = self._findings.busy(self._now())
        choice = self._choose_among(job, excluded | busy if busy else excluded)
        if isinstance(choice, NoNode) and busy:
            choice = self._choose_among(job, excluded)
        if isinstance(choice, NoNode) and choice.only_verdicts and self.verdicts_are_stale:
            choice = self._choose_among(job, excluded, panic=True)
        return choice

    def _choose_among(
        self, job: Job, excluded: frozenset[str], *, panic: bool = False
    ) -> Choice | NoNode:
        choice = self._policy.choose(
            self._arrival(job),
            self._now(),
            excluded=excluded,
            down=self._circuits.down,
            same_digest=job.ask.route.same_digest_only,
            panic=panic,
            pools=job.view.pools,
        )
        if isinstance(choice, Hold):
            raise TypeError("the policy holds what nothing was said to hold")
        return choice

    @staticmethod
    def _arrival(job: Job) -> Arrival:
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
