"""Loads a further copy of a model that many requests are held for: see `routing.preload`.

The load is what any client's would be, a request without a prompt, and counts as one at its node
while it lasts. Nobody waits for it, and nothing is lost when it fails.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from data_plane.proxy.orders import Order
from data_plane.routing.events import Finished
from data_plane.upstream.faults import SENTENCES, NodeFailedError

if TYPE_CHECKING:
    from collections.abc import Callable

    from data_plane.lifecycle import Lifecycle
    from data_plane.proxy.findings import Findings
    from data_plane.proxy.job import Job
    from data_plane.proxy.orders import Orders
    from data_plane.proxy.selection import Selection
    from data_plane.routing.events import Arrival
    from data_plane.routing.policy import Policy
    from data_plane.routing.preload import Preload
    from data_plane.telemetry.logs import Log
    from data_plane.telemetry.metrics import Metrics
    from data_plane.upstream.lease import Leases

AGAIN_AFTER_S: Final = 60.0
"""A node that could not load the model is not asked for it again so soon."""

_FIELDS: Final = b"Content-Type: application/json\r\n"


class Preloading:
    """Begins loads, one at a time for each model. Made inside the running loop."""

    def __init__(  # noqa: PLR0913 - wired once, in app
        self,
        *,
        policy: Policy,
        selection: Selection,
        orders: Orders,
        leases: Leases,
        findings: Findings,
        lifecycle: Lifecycle,
        log: Log,
        metrics: Metrics,
    ) -> None:
        self._policy = policy
        self._selection = selection
        self._orders = orders
        self._leases = leases
        self._findings = findings
        self._lifecycle = lifecycle
        self._log = log
        self._metrics = metrics
        self._now = asyncio.get_running_loop().time
        self._under_way: set[str] = set()
        """Models."""

        self._failed_at: dict[tuple[str, str], float] = {}
        """By model and node."""

    def weigh(self, job: Job, held: int, wait_s: float, on_end: Callable[[], None]) -> None:
        """Begin a load where one pays: `held` requests are held for the model of this one, the last
        of them for `wait_s` yet. `on_end` is called when it is over.
        """
        model = job.ask.canonical
        if model in self._under_way or self._lifecycle.is_draining:
            return
        found = self._selection.preload(job, held, wait_s, self._unfit(model))
        if found is not None:
            self._under_way.add(model)
            self._log.info(
                "preload",
                model=model,
                node=found.node.name,
                node_id=found.node.id,
                held=held,
                wait_s=round(wait_s, 3),
                load_s=round(found.load_s, 3),
                saved_s=round(found.saved_s, 3),
            )
            self._lifecycle.spawn(f"preload:{found.node.name}", self._load(job, found, on_end))

    def _unfit(self, model: str) -> frozenset[str]:
        now = self._now()
        for which in [each for each, at in self._failed_at.items() if now - at >= AGAIN_AFTER_S]:
            del self._failed_at[which]
        return frozenset(node_id for name, node_id in self._failed_at if name == model)

    async def _load(self, job: Job, preload: Preload, on_end: Callable[[], None]) -> None:
        node, model, began_at = preload.node, job.ask.canonical, self._now()
        ticket = self._policy.sent(preload.arrival, node.id, began_at)
        try:
            error = await self._told(job, preload, began_at)
        except asyncio.CancelledError:  # we shut down
            self._policy.load_failed(ticket, self._now())
            raise
        finally:
            self._under_way.discard(model)
        now = self._now()
        if error:
            self._policy.load_failed(ticket, now)
            self._failed_at[model, node.id] = now
            self._metrics.preload("failed")
            self._log.warning(
                "preload_failed", model=model, node=node.name, node_id=node.id, reason=error
            )
        else:
            self._policy.first_byte(ticket, now)  # from here on the model is there
            # Nothing was before it at this node: all of the time went into the load.
            self._policy.finished(ticket, Finished(load_s=now - began_at), now)
            self._findings.note_answered(node, model, is_unload=False)
            self._metrics.preload("loaded")
        on_end()

    async def _told(self, job: Job, preload: Preload, now: float) -> str:
        """Tell the node to load it. Returns why it has not, in words; "" when it has."""
        is_embedding = preload.arrival.is_embedding
        order = Order(
            "POST",
            "/api/embed" if is_embedding else "/api/generate",
            _FIELDS,
            _body(job.ask.model, preload.arrival),
            job.view.config,
        )
        try:
            with self._leases.take(preload.node.id, now):
                (told,) = await self._orders.tell_all([preload.node], order)
        except NodeFailedError as failure:  # the watch has let go of it
            return SENTENCES[failure.fault]
        return told.error


def _body(model: str, arrival: Arrival) -> bytes:
    """A request without a prompt, which loads the model as those that are held want it."""
    document: dict[str, object] = {"model": model}
    if arrival.is_embedding:
        document["input"] = ""
    else:
        document["stream"] = False
    if arrival.options_key:
        document["options"] = msgspec.Raw(arrival.options_key.encode())
    return msgspec.json.encode(document)
