"""One whole system for all client tests, started as `make run` starts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fakes import javascript
from fakes.installation import Installation
from fakes.process import OllamaProcess


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """Supervisor, Valkey, database, control plane, worker, data plane and three fake nodes."""
    with Installation(tmp_path_factory.mktemp("system")) as running:
        yield running


@pytest.fixture
def fragile(system: Installation) -> Iterator[OllamaProcess]:
    """The only node that has the model `fragile`; it is well again after the test."""
    node = system.nodes["fragile"]
    yield node
    node.clear_faults()


@pytest.fixture(scope="session")
def node_modules(pytestconfig: pytest.Config) -> Path:
    """Where JavaScript programs find the packages of the lock."""
    return javascript.install(pytestconfig.cache.mkdir("javascript"))
