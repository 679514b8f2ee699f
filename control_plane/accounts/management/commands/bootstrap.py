"""The first operator. Run at every start; does its work once.

Prints one line, `admin=<created|exists> password_file=<path or ->`, and at the end of it
` password=<password>` when, and only when, a password was generated now. The supervisor shows it
to whoever started the system.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from control_plane.accounts import services
from control_plane.accounts.errors import NameTakenError, WeakPasswordError
from control_plane.accounts.models import User
from control_plane.common.roles import Role

USERNAME: Final = "root"
FILE_NAME: Final = "initial_admin_password"
GENERATED_BYTES: Final = 18


class Command(BaseCommand):
    """`manage.py bootstrap`."""

    help = "Make the first operator, unless there is one."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it and print the line."""
        path = Path(settings.DATA_DIR) / FILE_NAME
        given = settings.ADMIN_PASSWORD
        if User.objects.exists():
            # Whoever removed `root` does not want it back.
            self.stdout.write(f"admin=exists password_file={path if path.exists() else '-'}")
        elif given:
            _create(given)
            self.stdout.write("admin=created password_file=-")
        else:
            password = secrets.token_urlsafe(GENERATED_BYTES)
            # The file first: a password that nobody knows is worse than a file too many.
            _write_private(path, password)
            _create(password)
            self.stdout.write(f"admin=created password_file={path} password={password}")


def _create(password: str) -> None:
    try:
        services.user_create(USERNAME, password, Role.ADMIN.value, "bootstrap")
    except WeakPasswordError as error:
        msg = f"AIVONX_ADMIN_PASSWORD: {error.detail}"
        raise CommandError(msg) from error
    except NameTakenError as error:
        msg = "another bootstrap made the first operator just now; run this again"
        raise CommandError(msg) from error


def _write_private(path: Path, content: str) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(content + "\n")
