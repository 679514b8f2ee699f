"""A cluster in fast motion: requests, nodes and one rule that chooses, event by event.

Nothing in here knows what a rule thinks. A request that a rule will not send yet waits here, and
the rule is asked again whenever an answer ends, in the order that it wants.
"""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import TYPE_CHECKING, Any, Final

from routing.node import SimNode
from routing.rules import Asked, Rule
from routing.runner import Job
from routing.scenarios import blocks_of, holders_of, requests_of, seeded, span_of

if TYPE_CHECKING:
    from routing.runner import Report
    from routing.scenarios import Incident, Scenario

PS_S: Final = 30.0
TICK_S: Final = 1.0


@dataclass(slots=True)
class Answer:
    """What became of a request; times are seconds of the simulation."""

    asked: Asked
    asked_at: float
    first_at: float = inf
    ended_at: float = inf
    node: str = ""
    cached: int = 0
    is_whole: bool = False

    @property
    def ttft_s(self) -> float:
        """From the client's send, our queue included."""
        return self.first_at - self.asked_at

    @property
    def e2e_s(self) -> float:
        """Until the last token."""
        return self.ended_at - self.asked_at


@dataclass
class Trial:
    """One rule in one scenario with one seed."""

    answers: list[Answer]
    loads: int
    decisions_us: list[float]
    span_s: float
    ended_at: float
    by_model: Counter[str] = field(default_factory=Counter)


def asked_of(scenario: Scenario, seed: int, requests: int) -> list[Asked]:
    """The requests, to be used for each rule alike."""
    return [
        Asked(request, blocks_of(request.prompt), blocks_of((*request.prompt, request.answer)))
        for request in requests_of(scenario, seed, requests)
    ]


def run(scenario: Scenario, all_asked: list[Asked], rule_of: type[Rule], seed: int) -> Trial:
    """Let it happen."""
    return Simulation(scenario, all_asked, rule_of(scenario, seeded(seed))).run()


class Simulation:
    """See above."""

    def __init__(self, scenario: Scenario, all_asked: list[Asked], rule: Rule) -> None:
        self.scenario, self.rule = scenario, rule
        self.asked = all_asked
        self.nodes = {name: SimNode(preset, scenario.models) for name, preset in scenario.nodes}
        self.holders = {m.name: holders_of(scenario, m) for m in scenario.models}
        self.dead: set[str] = set()
        self.waiting: dict[int, Answer] = {}
        self.jobs: dict[Job, Answer] = {}
        self.later = {a.request.after: a for a in all_asked if a.request.after is not None}
        self.answers: list[Answer] = []
        self.decisions_us: list[float] = []
        self.open = 0
        self.now = 0.0
        self._events: list[tuple[float, int, str, Any]] = []
        self._order = count()
        self._versions: Counter[str] = Counter()

    def run(self) -> Trial:
        """Until every answer is there."""
        span_s = span_of([asked.request for asked in self.asked])
        for asked in self.asked:
            if asked.request.after is None:
                self._at(asked.request.at, "arrive", asked)
        self.open = len(self.asked)
        self._at(TICK_S, "tick", None)
        self._at(PS_S, "ps", None)
        for incident in self.scenario.incidents:
            self._at(incident.at * span_s, "begin", incident)
            if incident.until <= 1.0:
                self._at(incident.until * span_s, "end_of", incident)
        while self.open:
            self.now, _, kind, about = heappop(self._events)
            getattr(self, f"_{kind}")(about)
        return Trial(
            self.answers,
            sum(node.loads for node in self.nodes.values()),
            self.decisions_us,
            span_s,
            self.now,
        )

    # What happens

    def _arrive(self, asked: Asked) -> None:
        answer = Answer(asked, self.now)
        self.answers.append(answer)
        self._offer(answer)

    def _node(self, about: tuple[str, int]) -> None:
        name, version = about
        if version == self._versions[name]:
            self._look_at(name)

    def _tick(self, _about: None) -> None:
        self.rule.tick(self.now)
        for asked, name in self.rule.preloads(self.now):
            self.open += 1
            self._send(Answer(asked, self.now), name)
        self._ask_again()
        self._at(self.now + TICK_S, "tick", None)

    def _ps(self, _about: None) -> None:
        for name, node in self.nodes.items():
            if name not in self.dead:
                self.rule.ps_seen(name, node.in_memory(self.now), self.now)
                self._look_at(name)
        self._at(self.now + PS_S, "ps", None)

    def _begin(self, incident: Incident) -> None:
        node = self.nodes[incident.node]
        if incident.slower is not None:
            node.slow_down(incident.slower, self.now)
            self._look_at(incident.node)
            return
        self._look_at(incident.node)
        self.dead.add(incident.node)
        for job in node.die(self.now):
            answer = self.jobs.pop(job)
            self.rule.aborted(answer.asked, incident.node, self.now)
            if answer.first_at < inf:
                self._end(answer)  # nothing is repeated once the answer has begun
            else:
                self._offer(answer)

    def _end_of(self, incident: Incident) -> None:
        self.dead.discard(incident.node)
        self.nodes[incident.node].slow_down(1.0, self.now)

    def _look_at(self, name: str) -> None:
        """Take in what a node has done, and note when it does something next."""
        has_ended = False
        for report in self.nodes[name].advance(self.now):
            has_ended |= self._take_in(name, report)
        self._wake(name)
        if has_ended:
            self._ask_again()

    def _take_in(self, name: str, report: Report) -> bool:
        answer = self.jobs[report.job]
        if report.record is None:
            answer.first_at, answer.cached = report.at, report.job.cached
            self.rule.first_byte(answer.asked, name, self.now)
            return False
        del self.jobs[report.job]
        answer.is_whole = True
        self.rule.finished(answer.asked, name, report.record, self.now)
        self._end(answer)
        return True

    def _end(self, answer: Answer) -> None:
        answer.ended_at = self.now
        self.open -= 1
        following = self.later.get(answer.asked.number)
        if following is not None:
            self._at(self.now + following.request.think_s, "arrive", following)

    # Choosing

    def _offer(self, answer: Answer) -> bool:
        """Whether it was sent; else it waits."""
        asked = answer.asked
        usable = [name for name in self.holders[asked.request.model] if name not in self.dead]
        began = time.perf_counter()
        name = self.rule.pick(asked, usable, self.now) if usable else None
        self.decisions_us.append((time.perf_counter() - began) * 1e6)
        if name is None:
            self.waiting.setdefault(asked.number, answer)
            return False
        self._send(answer, name)
        return True

    def _send(self, answer: Answer, name: str) -> None:
        asked, request = answer.asked, answer.asked.request
        job = Job(
            asked.number,
            request.model,
            asked.tokens,
            asked.blocks,
            asked.whole,
            request.output_tokens,
            request.num_ctx,
            request.is_embedding,
        )
        answer.node = name
        self.rule.sent(asked, name, self.now)
        if self.nodes[name].submit(job, self.now):
            self.jobs[job] = answer
        else:
            self.rule.aborted(asked, name, self.now)
            self._end(answer)
        self._at(self.now, "node", (name, self._versions[name]))

    def _ask_again(self) -> None:
        """Those that wait, in their order."""
        if not self.waiting:
            return
        waiting = [answer.asked for answer in self.waiting.values()]
        for asked in self.rule.next_of(waiting, self.now):
            if self._offer(self.waiting[asked.number]):
                del self.waiting[asked.number]

    # The clock

    def _at(self, at: float, kind: str, about: object) -> None:
        heappush(self._events, (at, next(self._order), kind, about))

    def _wake(self, name: str) -> None:
        self._versions[name] += 1
        at = self.nodes[name].next_at()
        if at < inf:
            self._at(max(at, self.now), "node", (name, self._versions[name]))
