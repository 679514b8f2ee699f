"""One shot before the processes start: reach the servers, migrate, first operator, first nodes.

Prints one JSON line for the supervisor. A server that cannot be reached is one clear line on
standard error and exit code 1, never a traceback.
"""

from __future__ import annotations

import io
import json
import os
import sys
from typing import NoReturn
from urllib.parse import urlsplit

LOCAL_OLLAMA = "http://127.0.0.1:11434"


def main() -> None:
    """Prepare."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "control_plane.config.settings")
    import django

    django.setup()
    require_redis()
    require_database()
    migrate()
    # Nodes before the operator, who marks that a first start came to its end: when an address is
    # refused, the next start registers them again.
    nodes = first_nodes() if is_first_start() else []
    admin = bootstrap()
    publish()
    sys.stdout.write(json.dumps({**admin, "registered": nodes, "nodes": count_nodes()}) + "\n")


def fail(line: str) -> NoReturn:
    """End with one line."""
    sys.exit(f"aivonx: {line}")


def without_password(url: str) -> str:
    """A server's URL, fit to be shown."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def require_redis() -> None:
    """Redis must answer."""
    from django.conf import settings
    from redis.exceptions import RedisError

    from control_plane.common import redis

    try:
        redis.client().ping()
    except RedisError as error:
        shown = without_password(settings.REDIS_URL)
        fail(
            f"REDIS_URL: {shown} cannot be reached ({error}). Is it running, is the password right?"
        )


def require_database() -> None:
    """The database must answer."""
    from django.db import Error, connection

    try:
        connection.ensure_connection()
    except Error as error:
        shown = connection.settings_dict
        where = f"{shown['HOST'] or 'localhost'}:{shown['PORT'] or 5432}/{shown['NAME']}"
        if connection.vendor == "sqlite":
            where = str(shown["NAME"])
        reason = " ".join(str(error).split())
        fail(f"DATABASE_URL: {where} cannot be reached ({reason}).")


def migrate() -> None:
    """Bring the schema up to date; nothing is done when it is."""
    from django.core.management import call_command
    from django.db import connection
    from django.db.migrations.executor import MigrationExecutor

    executor = MigrationExecutor(connection)
    if executor.migration_plan(executor.loader.graph.leaf_nodes()):
        call_command("migrate", interactive=False, verbosity=0)


def command_output(name: str, *arguments: str, setting: str = "") -> str:
    """What a management command prints. A command that fails is one line and the end."""
    from django.core.management import CommandError, call_command

    output = io.StringIO()
    try:
        call_command(name, *arguments, stdout=output)
    except CommandError as error:
        refused = [line for line in output.getvalue().splitlines() if line.startswith("refused")]
        fail(setting + "; ".join(" ".join(line.split()) for line in [*refused, str(error)]))
    return output.getvalue().strip()


def is_first_start() -> bool:
    """Whether there is no operator yet."""
    from control_plane.accounts.models import User

    return not User.objects.exists()


def bootstrap() -> dict[str, str]:
    """Make the first operator; the words of the command's line."""
    return dict(word.split("=", 1) for word in command_output("bootstrap").split())


def first_nodes() -> list[str]:
    """Register the nodes named in AIVONX_NODES, or a local Ollama when one answers."""
    from shared import environ

    urls = environ.items(os.environ, "AIVONX_NODES")
    wanted = urls or ("--if-answering", LOCAL_OLLAMA)
    return command_output("register_nodes", *wanted, setting="AIVONX_NODES: ").splitlines()


def publish() -> None:
    """Publish at once, so that the data plane starts with the state and not with waiting."""
    from control_plane.publishing import services

    services.snapshot_publish()


def count_nodes() -> dict[str, int]:
    """How many nodes there are, and how many of them can be used."""
    from control_plane.nodes.models import Node

    nodes = list(Node.objects.all())
    return {"all": len(nodes), "active": sum(node.is_in_active_pool for node in nodes)}


if __name__ == "__main__":
    main()
