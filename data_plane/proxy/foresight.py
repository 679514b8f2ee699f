"""Where the next request for a model would go, and why: asked by operators, changes nothing.

It goes by the same `Selection` as requests do, so that it cannot say anything else than what would
happen. Among equals the dice decide, here as there: ask twice, and the other may be named.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.protocol.ask import parse
from data_plane.protocol.matching import lookup
from data_plane.protocol.mistakes import BadRequestError
from data_plane.proxy.arrivals import arrival_of
from data_plane.routing import sentences
from data_plane.routing.choose import Choice
from data_plane.routing.events import Hold, NoNodeKind
from data_plane.routing.strategies import SCORES
from data_plane.telemetry.record import Record
from shared.questions import Answer, Bar, Candidate, Outcome
from shared.snapshot import Strategy

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.admission.queue import Queue
    from data_plane.protocol.asks import Ask
    from data_plane.proxy.failures import Failure
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.selection import Selection
    from data_plane.proxy.waiting import Held
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.events import Arrival, NoNode
    from data_plane.routing.model_circuit import ModelCircuits
    from data_plane.routing.policy import Policy
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.sync.applied import Applied, AppliedState
    from data_plane.upstream.lease import Leases
    from shared.questions import Question

MAX_CANDIDATES: Final = 200
"""Nodes told of at most: weighing one takes some 20 us, and requests wait meanwhile."""

_ROUTE: Final = lookup("POST", "/api/chat").route
_MAX_BODY_BYTES: Final = 65_536


class Query(msgspec.Struct, eq=False):
    """A request that nobody has made."""

    view: Applied
    ask: Ask
    arrival: Arrival | None
    record: Record
    tried: set[str] = msgspec.field(default_factory=set)
    failures: set[Failure] = msgspec.field(default_factory=set)


class Foresight:
    """Reads what others keep; keeps nothing. `now` is the clock of the policy."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        instance: str,
        state: AppliedState,
        policy: Policy,
        selection: Selection,
        leases: Leases,
        circuits: Circuits,
        models: ModelCircuits,
        findings: Findings,
        queue: Queue[Held],
        now: Callable[[], float],
    ) -> None:
        self._instance = instance
        self._state = state
        self._policy = policy
        self._selection = selection
        self._leases = leases
        self._circuits = circuits
        self._models = models
        self._findings = findings
        self._queue = queue
        self._now = now

    def answer(self, question: Question) -> Answer | None:
        """What would become of such a request; None while no snapshot is in force, or when the
        name is none: the control plane says so before it asks.
        """
        view = self._state.current
        if view is None:
            return None
        try:
            query = _query(question, view)
        except BadRequestError:
            return None
        choice = self._selection.choose(query, is_preview=True)
        arrival = self._selection.arrival(query)
        canonical = arrival.canonical
        is_behind = isinstance(choice, Choice) and self._queue.is_waited_for(canonical)
        outcome, node_id, reason, because = _told(choice, is_behind=is_behind)
        candidates = self._candidates(view.pools, arrival, node_id)
        return Answer(
            instance=self._instance,
            epoch=view.pools.epoch,
            revision=view.pools.revision,
            strategy=view.pools.strategy_of(canonical).value,
            outcome=outcome,
            candidates=candidates,
            node_id=node_id,
            reason=reason,
            because=because,
            runner_up=_runner_up(candidates, node_id),
        )

    def _candidates(self, pools: Pools, arrival: Arrival, chosen: str) -> tuple[Candidate, ...]:
        """Every node: those that can be chosen, the best first; then the barred, holders first."""
        entry = pools.entry(arrival.canonical)
        holders = (*entry.active, *entry.drifted, *entry.standby) if entry is not None else ()
        holders = tuple(sorted(holders, key=lambda node: node.id != chosen))[:MAX_CANDIDATES]
        bars = self._bars(pools, arrival.canonical)
        found = [
            _barred(each, bars.get(each.node_id), is_hanging=is_hanging)
            for each, is_hanging in self._weighed(pools, arrival, holders)
        ]
        found.sort(key=lambda each: (each.bar is not None, each.score is None, each.score or 0.0))
        held = {node.id for node in holders}
        found += [
            Candidate(node_id=node.id, name=node.name, bar=bar, detail=detail)
            for node in pools.nodes.values()
            if node.id not in held
            for bar, detail in (bars.get(node.id, (Bar.NO_MODEL, "")),)
        ]
        return tuple(found[:MAX_CANDIDATES])

    def _weighed(
        self, pools: Pools, arrival: Arrival, holders: tuple[PoolNode, ...]
    ) -> list[tuple[Candidate, bool]]:
        """What each of them scores, and whether a load hangs there."""
        strategy, loads = pools.strategy_of(arrival.canonical), self._leases.counts
        latencies: dict[str, float] = {}
        if strategy is Strategy.LOWEST_LATENCY and arrival.canonical in pools.models:
            latencies = self._policy.first_bytes(arrival, pools, self._now())
        found = []
        for each, is_hanging in self._policy.estimates(arrival, holders, self._now()):
            node = each.node
            active = loads.get(node.id, 0.0)
            candidate = Candidate(
                node_id=node.id,
                name=node.name,
                active_count=active,
                is_loaded=not each.is_cold,
                score=SCORES[strategy](node, active, latencies.get(node.id)),
            )
            if strategy is Strategy.PREDICTED:
                candidate = msgspec.structs.replace(
                    candidate,
                    score=each.cost_s,
                    **{name: getattr(each, name) for name in each.terms().__struct_fields__},
                )
            found.append((candidate, is_hanging and strategy is Strategy.PREDICTED))
        return found

    def _bars(self, pools: Pools, canonical: str) -> dict[str, tuple[Bar, str]]:
        """What is known against nodes, by id; of several things the one that lasts longest."""
        now, entry = self._now(), pools.entry(canonical)
        bars = {}
        for node_id in self._findings.busy(now):
            bars[node_id] = (Bar.BUSY, "")
        for node_id in self._models.avoided(canonical, now):
            bars[node_id] = (Bar.FAILING, self._models.reasons().get((node_id, canonical), ""))
        if entry is not None and not entry.any_version:
            bars |= {node.id: (Bar.DRIFTED, "") for node in entry.drifted}
        for node_id in self._findings.without(canonical):
            bars[node_id] = (Bar.MODEL_GONE, "")
        for node_id in self._circuits.down:
            bars[node_id] = (Bar.DOWN, self._circuits.reasons.get(node_id, ""))
        for node in pools.standby:
            bars[node.id] = (Bar.STANDBY, node.standby or "") if node.wished else (Bar.DISABLED, "")
        return bars


def _query(question: Question, view: Applied) -> Query:
    fields: dict[str, object] = {"model": question.model, "messages": [{"role": "user"}]}
    if question.num_ctx is not None:
        fields["options"] = {"num_ctx": question.num_ctx}
    ask = parse(_ROUTE, msgspec.json.encode(fields), max_body_bytes=_MAX_BODY_BYTES)
    arrival = arrival_of(ask, view.pools, "", with_prompt=False)
    arrival = msgspec.structs.replace(arrival, prompt_tokens=question.prompt_tokens)
    return Query(view, ask, arrival, Record(question.id, "", "POST", 0.0))


def _told(choice: Choice | Hold | NoNode, *, is_behind: bool) -> tuple[Outcome, str, str, str]:
    """Outcome, node, reason, and the reason in a sentence."""
    if isinstance(choice, Hold):
        return Outcome.HELD, choice.node_id, "", sentences.HELD
    if isinstance(choice, Choice):
        node_id, reason = choice.node.id, choice.reason
        if is_behind:
            return Outcome.HELD, node_id, reason.value, sentences.BEHIND
        return Outcome.SENT, node_id, reason.value, sentences.SENTENCES[reason]
    if choice.kind is NoNodeKind.UNKNOWN_MODEL:
        return Outcome.UNKNOWN_MODEL, "", choice.kind.value, sentences.UNKNOWN_MODEL
    return Outcome.NO_NODE, "", choice.kind.value, sentences.NO_NODE


def _barred(candidate: Candidate, bar: tuple[Bar, str] | None, *, is_hanging: bool) -> Candidate:
    if bar is None and is_hanging:
        bar = (Bar.LOAD_HANGS, "")
    if bar is None:
        return candidate
    return msgspec.structs.replace(candidate, bar=bar[0], detail=bar[1])


def _runner_up(candidates: tuple[Candidate, ...], chosen: str) -> str:
    """The best of the others, and by how much it scores worse."""
    scores = {each.node_id: each.score for each in candidates}
    best = scores.get(chosen)
    for each in candidates:
        if each.node_id != chosen and each.bar is None:
            if best is None or each.score is None:
                return each.name
            return f"{each.name} ({each.score - best:+.3f})"
    return ""
