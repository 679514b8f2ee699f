"""The Django ring: the environment the settings are read from, real Valkey, and the cast.

Everything stands in the environment before Django loads, and nothing of the caller's own settings
gets in: a test run must not depend on them, still less write to what they point to.
"""

from __future__ import annotations

import asyncio
import atexit
import importlib
import logging
import os
import shutil
import tempfile
import threading
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

import django
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fakes.cast import Cast
    from fakes.ollama import FakeOllama
    from pytest_django import DjangoDbBlocker
    from pytest_django.fixtures import SettingsWrapper
    from redis import Redis
    from rest_framework.test import APIClient

    from control_plane.nodes.models import Node

# It starts a PostgreSQL of its own and would be the same in both rings: once is enough.
collect_ignore = (
    [] if os.environ.get("AIVONX_TEST_POSTGRES_URL") else ["config/test_database_outage.py"]
)

NOBODY_LISTENS = "redis://127.0.0.1:1/0"


def _environment(data_dir: str) -> dict[str, str]:
    postgres_url = os.environ.get("AIVONX_TEST_POSTGRES_URL", "")
    return {
        "AIVONX_DATA_DIR": data_dir,
        "AIVONX_SECRET_KEY": "of-the-tests-" + "s3cR3t" * 8,
        "AIVONX_JWT_KEY": "of-the-tests-" + "jw7K3y" * 8,
        "AIVONX_SNAPSHOT_KEY": "of-the-tests-" + "sn4psh0t" * 6,
        "AIVONX_NODE_TOKEN_KEYS": "dGhlLXRlc3RzLW9ubHkta2V5LW9mLTMyLWJ5dGVzISE=",
        "AIVONX_LOG_FORMAT": "json",
        "REDIS_URL": NOBODY_LISTENS,
        "DATABASE_URL": postgres_url or f"sqlite:///{data_dir}/control.sqlite3",
        "DJANGO_SETTINGS_MODULE": "control_plane.config.settings",
    }


def _set_up() -> None:
    data_dir = tempfile.mkdtemp(prefix="aivonx-tests-")
    atexit.register(shutil.rmtree, data_dir, ignore_errors=True)
    ours = ("AIVONX_", "DJANGO_", "ROOT_PASSWORD", "REDIS_URL", "DATABASE_URL")
    for name in [name for name in os.environ if name.startswith(ours)]:
        if not name.startswith("AIVONX_TEST_"):
            del os.environ[name]
    os.environ.update(_environment(data_dir))
    django.setup()
    from django.conf import settings
    from django.db import connection

    if connection.vendor == "sqlite":
        # A file: threads that share an in-memory database lock each other out at once.
        connection.settings_dict["TEST"]["NAME"] = f"{data_dir}/test.sqlite3"
    # Argon2 takes 50 ms each time, on purpose. The tests of hashing itself ask for it.
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


_set_up()


@pytest.fixture(scope="session", autouse=True)
def no_database_unasked(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A test without the `db` fixture reaches no database. pytest-django blocks only when Django
    was set up before it."""
    django_db_blocker.block()
    yield
    django_db_blocker.restore()


@pytest.fixture(scope="session", autouse=True)
def the_last_log_lines_may_be_lost() -> Iterator[None]:
    """The thread that wakes tasks may still log when pytest has taken its stderr away."""
    yield
    logging.raiseExceptions = False


@pytest.fixture(scope="session", autouse=True)
def flush_as_tests_need() -> Iterator[None]:
    """Transactional tests empty every table afterwards: that must pass the audit log's triggers,
    and leave the one row of revisions, which a migration made."""
    from django.db.backends.base.operations import BaseDatabaseOperations

    triggers = importlib.import_module("control_plane.accounts.migrations.0003_audit_append_only")
    flush = BaseDatabaseOperations.execute_sql_flush

    def flush_everything(self: BaseDatabaseOperations, sql_list: list[str]) -> None:
        from control_plane.revisions.models import Revision

        with self.connection.schema_editor() as editor:
            triggers.drop(None, editor)
        flush(self, sql_list)
        with self.connection.schema_editor() as editor:
            triggers.create(None, editor)
        Revision.objects.get_or_create(pk=1)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseDatabaseOperations, "execute_sql_flush", flush_everything)
        yield


@pytest.fixture(autouse=True)
def sign_ins_unthrottled() -> None:
    """Each test begins with full buckets."""
    from control_plane.accounts import throttle

    throttle.buckets.clear()


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real Valkey of this test process."""
    from deploy.local import engine

    directory: Path = tmp_path_factory.mktemp("valkey")
    with engine.running(directory) as url:
        yield url


@pytest.fixture
def redis(redis_url: str, settings: SettingsWrapper) -> Iterator[Redis]:
    """The control plane's client, on an empty Valkey."""
    from control_plane.common import redis as ours

    settings.REDIS_URL = redis_url
    client = ours.client()
    client.flushall()
    yield client
    client.close()


@pytest.fixture
def cast(db: None) -> Cast:
    """Alice, Bob and Charlie."""
    from fakes.cast import Cast

    return Cast.enter()


@pytest.fixture
def as_admin(cast: Cast) -> APIClient:
    """Alice at the API."""
    return cast.client(cast.alice)


@pytest.fixture
def as_operator(cast: Cast) -> APIClient:
    """Bob at the API."""
    return cast.client(cast.bob)


@pytest.fixture
def as_viewer(cast: Cast) -> APIClient:
    """Charlie at the API."""
    return cast.client(cast.charlie)


@pytest.fixture
def as_nobody(db: None) -> APIClient:
    """Somebody who is not signed in."""
    from rest_framework.test import APIClient

    return APIClient()


@pytest.fixture
def start_node() -> Iterator[Callable[..., FakeOllama]]:
    """Start a fake node; the keywords are those of FakeOllama."""
    from fakes.ollama import FakeOllama

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
    from control_plane.nodes.models import Node, NodeInventory

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
