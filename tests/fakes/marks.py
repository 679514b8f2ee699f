"""Marks that say which databases a scenario of the system ring needs."""

from __future__ import annotations

import pytest

on_both_databases = pytest.mark.parametrize(
    "started_stack", ["sqlite", "postgresql"], indirect=True
)
on_postgresql = pytest.mark.parametrize("started_stack", ["postgresql"], indirect=True)
