"""Answers that need no node: made from the snapshot in force and from our own looks at nodes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from data_plane.protocol.dialects import JSON
from data_plane.protocol.routes import Action
from data_plane.proxy.answers import RefusedRequestError
from data_plane.proxy.catalogue import ROOT_BODY, Catalogue
from shared.codes import ErrorCode

if TYPE_CHECKING:
    from data_plane.protocol.matching import Match
    from data_plane.proxy.findings import Findings
    from data_plane.routing.circuit import Circuits
    from data_plane.routing.pool_node import PoolNode
    from data_plane.routing.pools import Pools
    from data_plane.sync.applied import Applied

TEXT: Final = "text/plain; charset=utf-8"
OPENAPI: Final = (Path(__file__).parents[1] / "openapi.json").read_bytes()
"""Written by hand; `tests/data_plane/test_openapi.py` holds it against the table of routes."""


class Shelf:
    """One catalogue per snapshot; what is loaded changes between snapshots and has its own."""

    def __init__(self, findings: Findings, circuits: Circuits) -> None:
        self._findings = findings
        self._circuits = circuits
        self._pools: Pools | None = None
        self._catalogue: Catalogue | None = None
        self._live: Catalogue | None = None
        self._live_version = -1

    def take(
        self, view: Applied, match: Match, allowed: tuple[str, ...] | None
    ) -> tuple[str, bytes]:
        """Content type and body for a route of the catalogue. Raises RefusedRequestError."""
        catalogue = self._of(view.pools)
        match match.route.action:
            case Action.ROOT:
                if all(node.id in self._circuits.down for node in view.pools.active):
                    raise RefusedRequestError(ErrorCode.NO_HEALTHY_NODE)
                return TEXT, ROOT_BODY
            case Action.OPENAPI:
                body = OPENAPI
            case Action.VERSION:
                body = catalogue.version()
            case Action.TAGS:
                body = catalogue.tags(allowed)
            case Action.PS:
                body = self._live_of(view.pools, catalogue).ps(allowed)
            case Action.MODELS:
                body = catalogue.models(allowed)
            case Action.MODEL:
                found = catalogue.model(match.name, allowed)
                if found is None:
                    sentence = match.route.unknown_model(match.name)
                    raise RefusedRequestError(ErrorCode.MODEL_NOT_FOUND, sentence)
                body = found
            case _:
                raise RefusedRequestError(ErrorCode.ROUTE_NOT_FOUND)
        return JSON, body

    def _of(self, pools: Pools) -> Catalogue:
        if self._catalogue is None or self._pools is not pools:
            self._catalogue, self._pools, self._live = Catalogue(pools), pools, None
        return self._catalogue

    def _live_of(self, pools: Pools, catalogue: Catalogue) -> Catalogue:
        self._findings.forget_old_looks()
        if not self._findings.loaded:
            return catalogue
        if self._live is None or self._live_version != self._findings.version:
            self._live = Catalogue(replace(pools, active=self._seen(pools.active)))
            self._live_version = self._findings.version
        return self._live

    def _seen(self, nodes: tuple[PoolNode, ...]) -> tuple[PoolNode, ...]:
        loaded = self._findings.loaded
        return tuple(node.holding(loaded[node.id]) if node.id in loaded else node for node in nodes)
