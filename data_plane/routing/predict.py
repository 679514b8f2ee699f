"""What it would cost to send a request to a node, in seconds: see README.md for the formulas."""

from __future__ import annotations

from heapq import heapify, heapreplace
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.events import Terms

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.routing.learning import Rates
    from data_plane.routing.pools import PoolNode
    from data_plane.routing.shadow import Flight, Place, Runner

OTHERS_WEIGHT: Final = 0.5
"""What a second of others counts for. From 0.25 to 1 all do; 0 forgets them under load."""

MOST_BUSY: Final = 0.92
"""Above this share of busy time the mean wait has no meaning any more."""

NEAR_S: Final = 0.02
"""A shorter time makes no difference."""

BATCH_TOKENS: Final = 512
"""Prompts are read in pieces of so many tokens, each in turn with one token of every answer."""


class Demand(msgspec.Struct, frozen=True):
    """A request as it is weighed: with what is known of its model."""

    key: str
    options_key: str
    tokens: float
    output: float
    blocks: tuple[int, ...]
    size_bytes: float


class Estimate:
    """One node, weighed for one request."""

    __slots__ = (
        "active", "cost_s", "decode_s", "eviction_s", "hit", "is_cold", "is_free", "load_s", "node",
        "others_s", "rates", "ttft_s", "uncached", "wait_s", "work_s",
    )  # fmt: skip

    def __init__(self, node: PoolNode, rates: Rates) -> None:
        self.node = node
        self.rates = rates
        self.hit = 0.0
        self.load_s = self.wait_s = self.eviction_s = self.others_s = 0.0
        self.ttft_s = self.decode_s = self.work_s = self.uncached = self.cost_s = 0.0
        self.active = 0.0
        self.is_cold = False
        self.is_free = True

    def terms(self) -> Terms:
        """The same, for whoever asks why."""
        return Terms(
            self.ttft_s, self.decode_s, self.others_s, self.eviction_s, self.wait_s, self.load_s
        )


def weigh(  # noqa: PLR0913 - every input is an argument, so that it can be replayed
    node: PoolNode,
    place: Place | None,
    rates: Rates,
    demand: Demand,
    now: float,
    *,
    others: float,
    loss: Callable[[Runner], float],
) -> Estimate:
    """What the request would cost at this node. `others` are requests there that are not ours,
    `loss` says what it costs the fleet that a runner leaves (s).
    """
    found = Estimate(node, rates)
    runner = place.runners.get(demand.key) if place is not None else None
    _weigh_memory(found, place, runner, demand, now, loss)
    prefill, step_s, slots = rates.prefill, rates.step_s, rates.slots
    uncached = found.uncached = demand.tokens * (1.0 - rates.trust * found.hit)
    flights = runner.flights if runner is not None and runner.flights else None
    active = found.active = len(flights) + others if flights is not None else others
    share = min(active + 1.0, slots)
    crowded_s = step_s * (1.0 + rates.crowding * (share - 1.0))
    read_s = uncached / prefill
    work_s = found.work_s = read_s + demand.output * crowded_s / share
    if found.is_cold:
        found.work_s += rates.load_s
    if active >= slots:
        found.is_free = False
        left = [flight.left_s(now) for flight in flights.values()] if flights is not None else []
        found.wait_s = _wait(left, others, slots, work_s * share)
    if flights is not None:
        read_s += _read_ahead(flights, uncached, rates)
    beside = 1.0
    if place is not None and place.active > (len(flights) if flights is not None else 0):
        beside += place.busy_beside(demand.key)
    found.ttft_s = max(found.load_s, found.wait_s) + read_s * beside + step_s
    found.decode_s = demand.output * crowded_s * beside
    if place is not None:
        found.others_s = _others(place, found.work_s, now)
    found.cost_s = found.ttft_s + found.decode_s + found.others_s + found.eviction_s
    return found


def _weigh_memory(  # noqa: PLR0913, PLR0917 - as above
    found: Estimate,
    place: Place | None,
    runner: Runner | None,
    demand: Demand,
    now: float,
    loss: Callable[[Runner], float],
) -> None:
    """Whether the model is there, and what it has of the prompt."""
    if runner is not None and runner.fits(demand.options_key):
        found.load_s = max(runner.ready_at - now, 0.0)
        if demand.blocks:
            found.hit = runner.prompts.hit(demand.blocks)
        return
    found.is_cold = True
    found.load_s = found.rates.load_s
    if place is not None:
        _weigh_load(found, place, demand, now, loss)


def _read_ahead(flights: dict[int, Flight], uncached: float, rates: Rates) -> float:
    """Prompts that are read before ours, and tokens that are written between its pieces (s)."""
    decoding = reading = 0
    tokens = 0.0
    for flight in flights.values():
        if flight.first_at is not None:
            decoding += 1
        elif reading < rates.slots:
            reading += 1
            tokens += flight.uncached
    seconds = tokens / rates.prefill
    if decoding:
        together = min(decoding, rates.slots)
        step_s = rates.step_s * (1.0 + rates.crowding * (together - 1))
        seconds += uncached / BATCH_TOKENS * step_s
    return seconds


def _weigh_load(
    found: Estimate, place: Place, demand: Demand, now: float, loss: Callable[[Runner], float]
) -> None:
    """Loads ahead, whoever has to leave first, and what that costs others."""
    found.load_s += max(place.loader_free_s(now), 0.0)
    same = place.runners.get(demand.key)
    drained_s = 0.0
    leaving = place.victims(demand.key, demand.size_bytes)
    for runner in leaving if same is None else [same]:
        drained_s = max([drained_s, *(flight.left_s(now) for flight in runner.flights.values())])
    for runner in leaving:
        found.eviction_s += loss(runner)
    if same is not None and same.flights:
        found.eviction_s += found.rates.load_s  # they will want their own options back
    found.load_s += drained_s


def _others(place: Place, work_s: float, now: float) -> float:
    """The wait that this request adds to those that come after it (first policy iteration)."""
    per_second = place.per_second(now)
    busy = min(per_second * place.work_s, MOST_BUSY)
    backlog_s = place.backlog_s(now) if place.active else 0.0
    added_s = 2.0 * backlog_s * work_s + work_s * work_s
    return OTHERS_WEIGHT * per_second / (2.0 * (1.0 - busy)) * added_s


def _wait(left: list[float], others: float, slots: int, service_s: float) -> float:
    """Until a slot is free for one more, behind everyone who is there: first come, first served.

    `left` are the times that ours still take, those that have a slot first. Of the others nothing
    is known but their number: each is taken to be half done.
    """
    left.extend([service_s / 2.0] * int(others))
    running, queued = left[:slots], left[slots:]
    if len(running) < slots:
        return 0.0
    if len(queued) > 4 * slots:  # a long queue: its mean is as good
        return min(running) + sum(queued) / slots
    heapify(running)
    for each_s in queued:
        heapreplace(running, running[0] + each_s)
    return running[0]


def lacks(best: Estimate, second: Estimate | None) -> str:
    """What made the second best worse."""
    if second is None:
        return ""
    gaps = {
        "first token": second.ttft_s - best.ttft_s,
        "speed": second.decode_s - best.decode_s,
        "others": second.others_s - best.others_s,
        "eviction": second.eviction_s - best.eviction_s,
    }
    worst = max(gaps, key=gaps.__getitem__)
    if worst == "first token" and second.load_s > best.load_s + NEAR_S:
        worst = "load"
    return f"{second.node.name} {second.cost_s - best.cost_s:+.3f} s ({worst})"
