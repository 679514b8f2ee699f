"""The one option of the tests: which database the Django ring runs on.

Conftests further down import models as soon as they are loaded, which is before pytest offers its
options. So the option is read from the command line here, the server is started here, and what
follows from it stands in the environment, which the workers of `-n` inherit.
"""

from __future__ import annotations

import atexit
import os
import sys
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import settings

from data_plane import native

SQLITE = "sqlite"
POSTGRESQL = "postgresql"
CHOSEN = "AIVONX_TEST_DATABASE"
SERVER_URL = "AIVONX_TEST_POSTGRES_URL"

# The sources are tested unless it is said otherwise, here and in whatever process a test starts:
# before anything else of the data plane is imported.
os.environ.setdefault(native.SETTING, "off")
native.use(os.environ)

# A busy machine with two cores is no fault of the example at hand.
settings.register_profile("steady", deadline=None)
settings.load_profile("steady")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--database",
        choices=(SQLITE, POSTGRESQL),
        default=SQLITE,
        help="The database of the Django ring.",
    )


def _asked_for(arguments: list[str]) -> str:
    for argument, following in zip(arguments, [*arguments, ""][1:], strict=True):
        name, equals, value = argument.partition("=")
        if name == "--database":
            return value if equals else following
    return SQLITE


def _start_postgres() -> None:
    from fakes import postgres

    exits = ExitStack()
    atexit.register(exits.close)
    os.environ[SERVER_URL] = exits.enter_context(postgres.open_url())


if CHOSEN not in os.environ:
    os.environ[CHOSEN] = _asked_for(sys.argv[1:])
    if os.environ[CHOSEN] == POSTGRESQL:
        _start_postgres()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep together what shares a stack of processes."""
    from fakes.schedule import RingScheduling

    return RingScheduling(config, log)
