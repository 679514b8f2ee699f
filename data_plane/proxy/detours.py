"""Requests that are not answered by passing on what one node says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from data_plane.protocol.asks import Form

if TYPE_CHECKING:
    from data_plane.proxy.attempts import Attempts
    from data_plane.proxy.job import Job
    from data_plane.proxy.loading import Loading
    from data_plane.proxy.shards import Shards
    from data_plane.proxy.shows import Shows
    from data_plane.proxy.unloading import Unloading


class Detours:
    """Serves asks of the forms in `ask.DETOURS`."""

    def __init__(
        self,
        attempts: Attempts,
        loading: Loading,
        unloading: Unloading,
        shows: Shows,
        shards: Shards,
    ) -> None:
        self._attempts = attempts
        self._loading = loading
        self._unloading = unloading
        self._shows = shows
        self._shards = shards

    async def serve(self, job: Job) -> None:
        """Answer the request. Raises RefusedRequestError when that cannot be."""
        if job.ask.form is Form.SHOW:
            await self._shows.serve(job)
        elif job.ask.form is Form.BATCH:
            await self._shards.serve(job)
        elif job.ask.form is Form.LOAD:
            await self._loading.load(job)
        else:
            await self._unloading.unload(job)
            await self._attempts.serve(job)
