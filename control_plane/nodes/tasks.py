"""Work on nodes as Celery sees it. The schedule ticks often; the work claims what is due."""

from __future__ import annotations

from celery import shared_task

from control_plane.common.outages import postponed_by_outage
from control_plane.common.wake import wake_on_commit
from control_plane.nodes import sweeps
from control_plane.nodes.models import Node
from control_plane.nodes.services import node_check
from control_plane.proxy_config.services import KEEP_WARM_TASK


@shared_task(name="nodes.sweep_health", ignore_result=True)
@postponed_by_outage
def sweep_health() -> int | None:
    """Probe the nodes that are due."""
    return sweeps.sweep_health()


@shared_task(name="nodes.refresh_models", ignore_result=True)
@postponed_by_outage
def refresh_models() -> int | None:
    """Look at the models of the nodes that are due; then see whether all are warm that shall be."""
    asked = sweeps.refresh_models()
    if asked:
        wake_on_commit(KEEP_WARM_TASK)
    return asked


@shared_task(name="nodes.check_node", ignore_result=True)
@postponed_by_outage
def check_node(node_id: str) -> str | None:
    """Probe one node at once: it was added or changed. Gone meanwhile: nothing to do."""
    node = Node.objects.filter(pk=node_id).first()
    if node is None:
        return None
    seen = node_check(node)
    return seen.probe.outcome.value if seen.probe else None
