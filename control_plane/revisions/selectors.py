"""Reads of the revision."""

from __future__ import annotations

from control_plane.revisions.models import THE_ROW, Revision


def revision_current() -> tuple[str, int]:
    """The epoch and the revision of the state in the database."""
    row = Revision.objects.get(pk=THE_ROW)
    return str(row.epoch), row.revision
