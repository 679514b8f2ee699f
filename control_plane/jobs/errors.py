"""What may be wrong with a job that is asked for, each with its status and code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from control_plane.common.errors import ApiError

if TYPE_CHECKING:
    from control_plane.jobs.models import Job


class UnknownNodesError(ApiError):
    """Nodes that do not exist."""

    def __init__(self, unknown: list[str]) -> None:
        named = ", ".join(name[:64] for name in unknown[:10])
        detail = f"There is no node {named}. See /api/proxy/nodes for names and ids."
        super().__init__(400, "invalid", detail, {"nodes": [detail]})


class RegistryNotAllowedError(ApiError):
    """A model of a registry that nodes may not be sent to."""

    def __init__(self, hosts: tuple[str, ...]) -> None:
        detail = (
            f"Nodes may pull from {', '.join(hosts)} only. "
            "Add the host of this model to AIVONX_REGISTRIES if it is to be trusted."
        )
        super().__init__(400, "registry_not_allowed", detail, {"model": [detail]})


class TooFewNodesError(ApiError):
    """Fewer nodes than replicas."""

    def __init__(self, there: int) -> None:
        detail = f"Only {there} node(s) could take it; ask for fewer, or bring nodes back."
        super().__init__(409, "too_few_nodes", detail)


class NoNodeError(ApiError):
    """No node that could be told."""

    def __init__(self) -> None:
        detail = "No node is in the active pool. Bring one back, or name the nodes."
        super().__init__(409, "no_node", detail)


class ModelNotFoundError(ApiError):
    """No node has the model."""

    def __init__(self, model: str) -> None:
        detail = f"No node that could be told has {model}; pull it first, or name the nodes."
        super().__init__(404, "model_not_found", detail)


class ModelBusyError(ApiError):
    """Another job works on this model at one of these nodes."""

    def __init__(self, job: Job | None) -> None:
        which = f"Job {job.pk} ({job.kind})" if job else "Another job"
        detail = f"{which} is at this model on one of these nodes; wait for it, or cancel it."
        super().__init__(409, "model_busy", detail)


class TooManyJobsError(ApiError):
    """So many jobs are open that one more would only wait."""

    def __init__(self, limit: int) -> None:
        detail = f"{limit} jobs are open; wait until some are done, or cancel some."
        super().__init__(429, "too_many_jobs", detail, headers={"Retry-After": "10"})


class JobFinishedError(ApiError):
    """There is nothing left to cancel."""

    def __init__(self) -> None:
        super().__init__(409, "job_finished", "This job is over; there is nothing to cancel.")


class NothingToRetryError(ApiError):
    """The job runs, or has done all it should."""

    def __init__(self) -> None:
        detail = "Nothing of this job has failed or was cancelled, or it still runs."
        super().__init__(409, "nothing_to_retry", detail)
