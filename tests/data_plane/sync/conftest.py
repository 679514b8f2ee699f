"""A real Valkey, and our own client to it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes.valkey import Engine

from data_plane.sync.subscriber import connect


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    server = Engine(tmp_path)
    server.start()
    yield server
    server.client.close()
    server.kill()


@pytest.fixture
async def store(engine: Engine):
    """Our own client to it."""
    client = connect(engine.url)
    yield client
    await client.aclose()
