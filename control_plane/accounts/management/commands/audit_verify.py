"""Whether the audit log is what was written. Prints how many records the chain has."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from control_plane.accounts import chain


class Command(BaseCommand):
    """`manage.py audit_verify`."""

    help = "Check the chain of the audit log; ends with 1 when a record was changed or is missing."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """Do it and print the line."""
        try:
            records = chain.verify()
        except chain.BrokenChainError as error:
            msg = f"the audit log is broken: {error}"
            raise CommandError(msg) from error
        self.stdout.write(f"records={records} chain=whole")
