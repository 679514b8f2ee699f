"""What the policy answers."""

import pytest

from data_plane.routing.events import Terms


def test_what_is_compared_counts_each_second_once() -> None:
    """The waits are part of the time to the first token already."""
    terms = Terms(2.0, 3.0, 0.5, 0.25, wait_s=1.5, load_s=1.0)
    assert terms.total_s == pytest.approx(5.75)
