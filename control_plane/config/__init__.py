"""Settings, URLs, Celery and WSGI of the control plane."""
