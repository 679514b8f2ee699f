"""Gunicorn for one machine: one process with threads, loaded before the fork to share memory."""

import os

from deploy.local.parent_death import die_with_parent
from deploy.local.settings import CONTROL_BIND
from shared import environ

bind = str(environ.bind(os.environ, "AIVONX_CONTROL_BIND", CONTROL_BIND))
worker_class = "control_plane.config.worker.JsonThreadWorker"
workers = 1
threads = 8
preload_app = True
graceful_timeout = 10
timeout = 60
keepalive = 5
accesslog = None
control_socket_disable = True
forwarded_allow_ips = "127.0.0.1,::1"
worker_tmp_dir = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112, S108 - gunicorn's heartbeat file


def post_fork(server: object, worker: object) -> None:  # noqa: ARG001 - gunicorn's hook
    """Die with the master, however that ends."""
    die_with_parent()
