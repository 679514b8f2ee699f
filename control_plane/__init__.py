"""The control plane: Django, DRF, Celery. Owns the state and publishes it; see README.md."""
