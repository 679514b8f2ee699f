"""A node as the path sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from shared.releases import Release
    from shared.snapshot import LoadedModel


class PoolNode:
    """A node of a snapshot. One object per node, shared by all models that it holds, and never
    changed.
    """

    __slots__ = (
        "id",
        "loaded",
        "max_parallel",
        "name",
        "release",
        "sealed_token",
        "standby",
        "url",
        "version",
        "weight",
        "wished",
    )

    def __init__(  # noqa: PLR0913 - what there is to know of a node
        self,
        *,
        id: str,  # noqa: A002 - its name everywhere
        name: str,
        url: str,
        weight: float,
        max_parallel: float,
        version: str,
        release: Release,
        sealed_token: str,
        wished: bool,
        standby: str | None,
        loaded: tuple[LoadedModel, ...],
    ) -> None:
        self.id = id
        self.name = name
        self.url = url
        self.weight = weight
        """Above zero, see `Pools.build`."""

        self.max_parallel = max_parallel
        """Requests that it works on at once; infinite when unknown."""

        self.version = version
        self.release = release
        """Its version as numbers."""

        self.sealed_token = sealed_token
        self.wished = wished
        self.standby = standby
        """Why the snapshot keeps it out of the active pool; None: it is in."""

        self.loaded = loaded

    def holding(self, loaded: tuple[LoadedModel, ...]) -> PoolNode:
        """The same with these models in memory."""
        return PoolNode(
            id=self.id,
            name=self.name,
            url=self.url,
            weight=self.weight,
            max_parallel=self.max_parallel,
            version=self.version,
            release=self.release,
            sealed_token=self.sealed_token,
            wished=self.wished,
            standby=self.standby,
            loaded=loaded,
        )
