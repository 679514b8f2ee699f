"""Epoch and revision: that the data planes must know of a change."""
