"""Systems to start, and an end for each."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from fakes.make_run import Run
from fakes.process import OllamaProcess


@pytest.fixture(scope="module")
def node() -> Iterator[OllamaProcess]:
    with OllamaProcess(["llama3.2:latest"], name="fast") as running:
        yield running


@pytest.fixture(scope="module")
def make_run(
    tmp_path_factory: pytest.TempPathFactory, node: OllamaProcess
) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def make(**environment: str) -> Run:
        data_dir = tmp_path_factory.mktemp("run") / "var"
        run = Run(data_dir, **{"AIVONX_NODES": node.url, **environment})
        runs.append(run)
        return run

    yield make
    for run in runs:
        if run.process is not None and run.process.poll() is None:
            run.process.kill()
            run.process.wait()
