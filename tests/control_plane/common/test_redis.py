import socket
import time

import pytest
from redis.exceptions import RedisError

from control_plane.common import redis as ours


def test_a_server_that_is_away_is_an_error_at_once(settings):
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with pytest.raises(RedisError):
        ours.client().ping()


def test_a_server_that_is_frozen_is_an_error_within_a_second(settings):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.REDIS_URL = f"redis://127.0.0.1:{silent.getsockname()[1]}/0"
        begun_at = time.monotonic()
        with pytest.raises(RedisError):
            ours.client().ping()
        assert time.monotonic() - begun_at < 3 * ours.TIMEOUT_S


def test_the_client_of_one_address_is_made_once(redis):
    assert ours.client() is redis
