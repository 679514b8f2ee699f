"""One row that counts what the data planes must know."""

from __future__ import annotations

import uuid
from typing import ClassVar, Final

from django.db import models

THE_ROW: Final = 1


class Revision(models.Model):
    """Epoch and revision. Locked by every change, so that revisions never skip or repeat."""

    id = models.PositiveSmallIntegerField(primary_key=True, default=THE_ROW)
    epoch = models.UUIDField(default=uuid.uuid4)
    revision = models.PositiveBigIntegerField(default=0)

    class Meta:
        """There is one row."""

        constraints: ClassVar = [
            models.CheckConstraint(condition=models.Q(id=THE_ROW), name="revisions_one_row")
        ]

    def __str__(self) -> str:
        """Epoch and revision."""
        return f"{self.epoch}:{self.revision}"
