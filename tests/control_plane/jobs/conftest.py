"""Jobs against real fake nodes, registered as the control plane would have them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from control_plane.jobs import runner
from control_plane.jobs.models import Job
from control_plane.nodes.client import NodeClient
from control_plane.nodes.models import Node
from control_plane.nodes.sweeps import probe_and_save
from control_plane.proxy_config.selectors import proxy_config_current

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fakes.ollama import FakeOllama
    from rest_framework.test import APIClient


class Here(NamedTuple):
    """A node that runs, and its row."""

    fake: FakeOllama
    row: Node

    @property
    def models(self) -> set[str]:
        """What is on its disk."""
        return {model.name for model in self.fake.node.library.newest_first()}


@pytest.fixture
def node(
    make_node: Callable[..., Node], start_node: Callable[..., Any]
) -> Iterator[Callable[..., Here]]:
    """Start and register a node with these models; the keywords are those of FakeOllama."""

    def make(*models: str, name: str = "", **knobs: Any) -> Here:
        fake = start_node(models=models, **knobs)
        row = make_node(address=fake.url, **({"name": name} if name else {}))
        probe_and_save([row], NodeClient.inventory, proxy_config_current())
        row.refresh_from_db()
        return Here(fake, row)

    yield make
    runner._stopping.clear()


@pytest.fixture
def ask(as_operator: APIClient) -> Callable[..., Job]:
    """Ask for a job through the API; it has to be accepted."""

    def ask(path: str, **body: Any) -> Job:
        answer = as_operator.post(f"/api/proxy/{path}", body)
        assert answer.status_code == 202, answer.data
        return Job.objects.get(pk=answer.data["id"])

    return ask
