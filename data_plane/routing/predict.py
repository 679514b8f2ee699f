"""What it would cost to send a request to a node, in seconds: see README.md for the formulas."""

from __future__ import annotations

from collections.abc import Callable
from math import log
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.routing.events import Terms

if TYPE_CHECKING:
    from data_plane.routing.learning import Rates
    from data_plane.routing.place import Place, Runner
    from data_plane.routing.pool_node import PoolNode

Loss = Callable[["PoolNode", "Runner", float], float]
"""What it costs the fleet that a runner leaves a node now, in seconds."""

OTHERS_WEIGHT: Final = 0.25
"""What a second of others counts for: as one of a streamed answer. 0 forgets them under load."""

ANSWER_WEIGHT: Final = 0.25
"""What a second of a streamed answer counts for: it is read while it is written."""

COPY_S: Final = 120.0
"""A load is paid by all that ask for the model in this time, not by the first alone."""

UNTRIED: Final = 0.25
"""Of what it costs that others leave a node, while it was never seen to have no room."""

HOPED: Final = 0.5
"""Of a wait that is none if there are more slots than were proved."""

MOST_BUSY: Final = 0.92
"""Above this share of busy time the mean wait has no meaning any more."""

NEAR_S: Final = 0.02
"""A shorter time makes no difference."""

NEAR_SHARE: Final = 0.02
"""Costs that differ by less than this or NEAR_S are the same: no estimate is that good."""

HIT_SHARE: Final = 0.5
HIT_GRACE_S: Final = 0.5
"""A node that has half of the prompt in its cache may be this much slower to the first token."""

BATCH_TOKENS: Final = 512
"""Prompts are read in pieces of so many tokens, each in turn with one token of every answer."""


COST: Final = attrgetter("cost_s")
_HIT: Final = attrgetter("hit")


class Demand(msgspec.Struct, frozen=True):
    """A request as it is weighed: with what is known of its model."""

    key: str
    options_key: str
    tokens: float
    output: float
    blocks: tuple[int, ...]
    size_bytes: float
    answer_weight: float = 1.0
    """What a second of its answer counts for."""

    sharers: float = 0.0
    """Requests that one more copy of the model would serve within COPY_S."""

    busy: float = 0.0
    """The share of their time that all nodes with the model work."""


class Estimate(msgspec.Struct, gc=False):
    """One node, weighed for one request."""

    node: PoolNode
    rates: Rates
    cost_s: float
    ttft_s: float
    decode_s: float
    others_s: float
    eviction_s: float
    wait_s: float
    load_s: float
    work_s: float
    """Of the node's time, the load included."""

    write_s: float
    """Of that, for the answer."""

    slot_s: float
    """For how long it will have a slot."""

    uncached: float
    """Tokens of the prompt that have to be read."""

    hit: float
    active: float
    is_cold: bool

    @property
    def is_free(self) -> bool:
        """Whether a slot is free for it."""
        return self.active < self.rates.slots

    def terms(self) -> Terms:
        """The same, for whoever asks why."""
        return Terms(
            self.ttft_s, self.decode_s, self.others_s, self.eviction_s, self.wait_s, self.load_s
        )


def weigh(  # noqa: C901, PLR0913 - calls would double its cost; all inputs are arguments
    node: PoolNode,
    place: Place | None,
    rates: Rates,
    demand: Demand,
    now: float,
    *,
    others: float,
    beside: int = 0,
    loss: Loss,
) -> Estimate:
    """What the request would cost at this node. `others` are requests there that are not ours,
    `beside` are further models that only others use there, `loss` says what it costs the fleet that
    a runner leaves (s).

    The hot loop of `predicted`: what is asked of a node is kept as sums there, see `Shadow`.
    """
    runner = place.runners.get(demand.key) if place is not None else None
    hit = load_s = eviction_s = wait_s = others_s = saved_s = 0.0
    is_cold = runner is None or not runner.fits(demand.options_key)
    if runner is not None and not is_cold:
        if runner.ready_at > now:
            load_s = runner.ready_at - now
        if demand.blocks and runner.prompts.kept:
            hit, lost = runner.prompts.hit(demand.blocks, now)
            eviction_s = lost / rates.prefill
    elif place is None:
        load_s = rates.load_s
        saved_s = load_s * demand.sharers / (1.0 + demand.sharers)
    else:
        load_s, eviction_s, has_room = _weigh_load(node, place, rates, demand, now, loss)
        if has_room:
            saved_s = rates.load_s * demand.sharers / (1.0 + demand.sharers)
    prefill, step_s, slots = rates.prefill, rates.step_s, rates.slots
    uncached = demand.tokens * (1.0 - rates.trust * hit)
    ours = len(runner.flights) if runner is not None else 0
    active = ours + others
    share = active + 1.0 if active < slots else slots
    crowded_s = step_s * (1.0 + rates.crowding * (share - 1.0))
    read_s = uncached / prefill
    write_s = demand.output * crowded_s / share
    work_s = read_s + write_s
    slot_s = read_s + demand.output * crowded_s
    if active >= slots:
        left_s = runner.left_s / ours if ours and runner is not None else slot_s
        wait_s = left_s * (active - slots + 1.0) / slots * (1.0 if rates.is_bounded else HOPED)
    if is_cold:
        work_s += rates.load_s
    if ours and runner is not None:
        read_s += _read_ahead(runner, uncached, rates)
    at_once = 1.0 + beside
    if place is not None:
        if place.busy:
            at_once += place.busy - 1 if ours else place.busy
        if place.active or place.work_s:
            busy = demand.busy if runner is not None else place.per_second(now) * place.work_s
            usual_s = (runner.work_s if runner is not None else 0.0) or place.work_s or work_s
            backlog_s = place.backlog_s + work_s / 2.0
            busy = min(busy, MOST_BUSY)  # what it adds to those who come after it
            others_s = OTHERS_WEIGHT * busy / (1.0 - busy) * backlog_s * work_s / usual_s
    ttft_s = (max(wait_s, load_s)) + read_s * at_once + step_s
    decode_s = demand.output * crowded_s * at_once
    others_s -= saved_s
    cost_s = ttft_s + demand.answer_weight * decode_s + others_s + eviction_s
    return Estimate(
        node, rates, cost_s, ttft_s, decode_s, others_s, eviction_s, wait_s, load_s, work_s,
        write_s, slot_s, uncached, hit, active, is_cold,
    )  # fmt: skip


def _read_ahead(runner: Runner, uncached: float, rates: Rates) -> float:
    """Prompts that are read before ours, and tokens that are written between its pieces (s)."""
    decoding, slots = runner.decoding, rates.slots
    reading = len(runner.flights) - decoding
    seconds = runner.unread / rates.prefill
    if reading > slots:
        seconds *= slots / reading  # the others have no slot yet
    if decoding:
        together = min(slots, decoding)
        step_s = rates.step_s * (1.0 + rates.crowding * (together - 1))
        seconds += uncached / BATCH_TOKENS * step_s
    return seconds


def _weigh_load(  # noqa: PLR0913, PLR0917 - as above
    node: PoolNode, place: Place, rates: Rates, demand: Demand, now: float, loss: Loss
) -> tuple[float, float, bool]:
    """Until the model is there: loads ahead, whoever has to leave first, its own. What that costs
    others. And whether it may be one copy more, for nothing that is known to be in its way.
    """
    same = place.runners.get(demand.key)
    leaving = place.victims(demand.key, demand.size_bytes)
    drained_s = 0.0
    for runner in leaving if same is None else [same]:
        count = len(runner.flights)
        if count:  # the last of so many ends later than the mean
            drained_s = max(drained_s, runner.left_s / count * (1.0 + log(count)))
    eviction_s = sum(loss(node, runner, now) for runner in leaving)
    if same is not None and same.flights:
        eviction_s += rates.load_s  # they will want their own options back
    has_room = same is None and not place.active
    if leaving and has_room:
        has_room = not place.room.is_known
        if has_room:
            eviction_s *= UNTRIED
    return max(place.loader_free_s(now), 0.0) + drained_s + rates.load_s, eviction_s, has_room


def cheapest(found: list[Estimate], dice: Callable[[], float]) -> Estimate:
    """Of those that cost nearly the least, the idlest; of these, one by the dice. `found` is in the
    order of COST.
    """
    best = found[0]
    limit_s = best.cost_s + max(NEAR_S, NEAR_SHARE * best.cost_s)
    equals = 1
    for each in found[1:]:
        if each.cost_s > limit_s:
            break
        if each.active < best.active:
            best, equals = each, 1
        elif each.active == best.active:
            equals += 1
            if dice() * equals < 1.0:
                best = each
    return best


def nearest(found: list[Estimate], best: Estimate) -> Estimate | None:
    """Who has much more of the prompt in its cache than the best, and is hardly slower."""
    near = max(found, key=_HIT)
    is_worth = near.hit >= HIT_SHARE and near.hit > best.hit
    return near if is_worth and near.ttft_s <= best.ttft_s + HIT_GRACE_S else None


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
