"""Nodes for tests of synchronous code: fakes that live in an event loop of their own thread."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import pytest
from fakes.ollama import FakeOllama

from control_plane.nodes.models import Node, NodeInventory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    StartNode = Callable[..., FakeOllama]


@pytest.fixture
def start_node() -> Iterator[StartNode]:
    """Start a fake node; the keywords are those of FakeOllama."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="fake-nodes")
    thread.start()
    stack = AsyncExitStack()

    def run(work: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(work, loop).result(10)

    def start(**knobs: Any) -> FakeOllama:
        return run(stack.enter_async_context(FakeOllama(**knobs)))

    yield start
    run(stack.aclose())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


@pytest.fixture
def make_node(db: None) -> Callable[..., Node]:
    """A row as it stands after a good probe; the keywords are columns of Node."""

    def make(**columns: Any) -> Node:
        number = Node.objects.count() + 1
        columns = {
            "name": f"node-{number}",
            "address": f"http://10.0.0.{number}:11434",
            "health": "healthy",
            "is_fresh": False,
            **columns,
        }
        node = Node.objects.create(**columns)
        NodeInventory.objects.create(node=node)
        return node

    return make
