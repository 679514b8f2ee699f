"""One stack per database for the whole ring, repaired before each scenario."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
from fakes.database import open_database
from fakes.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator

logging.getLogger("httpx2").setLevel(logging.WARNING)  # a line per request of a poll tells nothing


@pytest.fixture(scope="session", params=["sqlite"])
def started_stack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    directory = tmp_path_factory.mktemp(request.param)
    with open_database(request.param, directory) as database, Stack(directory, database) as stack:
        yield stack


@pytest.fixture
def stack(started_stack: Stack) -> Stack:
    """Everything up, no nodes, no keys, the fast config."""
    started_stack.reset()
    return started_stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show the end of every log beside a failure."""
    report = yield
    stack = getattr(item, "funcargs", {}).get("stack")
    if report.failed and stack is not None:
        report.sections.append(("logs of the stack", stack.tails()))
    return report
