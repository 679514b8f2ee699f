"""How many clients there are descriptors for."""

import resource

import pytest

from data_plane.host.descriptors import clients_within


@pytest.fixture
def soft_limit():
    """Sets the soft limit of descriptors, which comes back."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def set_soft(soft: int) -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, before[1]))

    yield set_soft
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.parametrize(
    ("soft", "wanted", "possible"), [(1_024, 20_000, 384), (1_024, 100, 100), (200, 20_000, 1)]
)
def test_two_descriptors_for_each_client_and_some_for_ourselves(
    soft_limit, soft, wanted, possible
) -> None:
    soft_limit(soft)
    assert clients_within(wanted) == possible


async def test_fewer_than_wished_for_are_said_at_the_start(soft_limit, make_plane) -> None:
    soft_limit(1_024)
    plane = await make_plane(AIVONX_MAX_CONNECTIONS="5000")
    assert plane.app.gate.max_connections == 384
    [line] = plane.lines("connections_limited")
    assert (line["wanted"], line["possible"]) == (5_000, 384)
