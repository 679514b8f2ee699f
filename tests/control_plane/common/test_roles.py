import itertools

import pytest

from control_plane.common.roles import Role

IN_ORDER = (Role.VIEWER, Role.OPERATOR, Role.ADMIN)


@pytest.mark.parametrize(("role", "other"), [*itertools.product(IN_ORDER, repeat=2)])
def test_each_role_includes_itself_and_those_below(role, other):
    assert role.includes(other) is (IN_ORDER.index(role) >= IN_ORDER.index(other))
