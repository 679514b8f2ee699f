"""Who may do what: every role x every method x every route.

The table says it once more than the views do, on purpose: a slip in a view is then a red test. A
route that is not in the table fails the first test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from django.urls import resolve

from control_plane.common.checks import routes
from control_plane.common.roles import Role

if TYPE_CHECKING:
    from rest_framework.test import APIClient

ANYBODY = ""
VIEWER, OPERATOR, ADMIN = Role.VIEWER, Role.OPERATOR, Role.ADMIN
UUID = "00000000-0000-4000-8000-000000000000"
KEY_ID = "A" * 12

LEAST_ROLE: dict[str, dict[str, str]] = {
    "/": {"GET": ANYBODY},
    "/livez": {"GET": ANYBODY},
    "/readyz": {"GET": ANYBODY},
    "/swagger": {"GET": ANYBODY},
    "/api/schema": {"GET": ANYBODY},
    "/api/account/login": {"POST": ANYBODY},
    "/api/account/refresh": {"POST": ANYBODY},
    "/api/account/logout": {"POST": ANYBODY},
    "/api/account/me": {"GET": VIEWER, "PATCH": VIEWER},
    "/api/account/users": {"GET": ADMIN, "POST": ADMIN},
    f"/api/account/users/{UUID}": {"GET": ADMIN, "PATCH": ADMIN, "DELETE": ADMIN},
    "/api/account/keys": {"GET": VIEWER, "POST": OPERATOR},
    f"/api/account/keys/{KEY_ID}": {"GET": VIEWER, "PATCH": OPERATOR, "DELETE": OPERATOR},
    "/api/audit": {"GET": ADMIN},
    "/api/proxy/nodes": {"GET": VIEWER, "POST": OPERATOR},
    f"/api/proxy/nodes/{UUID}": {
        "GET": VIEWER,
        "PUT": OPERATOR,
        "PATCH": OPERATOR,
        "DELETE": OPERATOR,
    },
    f"/api/proxy/nodes/{UUID}/check": {"POST": OPERATOR},
    "/api/proxy/config": {"GET": VIEWER, "PUT": OPERATOR, "PATCH": OPERATOR},
    "/api/proxy/pull": {"POST": OPERATOR},
    "/api/proxy/models": {"GET": VIEWER},
    "/api/proxy/models/warm": {"GET": VIEWER},
    "/api/proxy/models/delete": {"POST": OPERATOR},
    "/api/proxy/models/copy": {"POST": OPERATOR},
    "/api/proxy/models/load": {"POST": OPERATOR},
    "/api/proxy/models/unload": {"POST": OPERATOR},
    "/api/proxy/jobs": {"GET": VIEWER},
    f"/api/proxy/jobs/{UUID}": {"GET": VIEWER},
    f"/api/proxy/jobs/{UUID}/cancel": {"POST": OPERATOR},
    f"/api/proxy/jobs/{UUID}/retry": {"POST": OPERATOR},
    "/api/proxy/state": {"GET": VIEWER},
    "/api/proxy/active-requests": {"GET": VIEWER},
    "/api/proxy/explain": {"GET": VIEWER},
}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "TRACE")
ROLES = (None, VIEWER, OPERATOR, ADMIN)
DENIALS = {401, 403, 405}


def expected(least: str | None, role: Role | None) -> int | None:
    """The status of a denial; None when the request must get through to the view."""
    if least is None:
        return 405
    if least == ANYBODY:
        return None
    if role is None:
        return 401
    return None if role.includes(Role(least)) else 403


@pytest.fixture
def client_of(
    as_nobody: APIClient, as_viewer: APIClient, as_operator: APIClient, as_admin: APIClient
) -> dict[Role | None, APIClient]:
    return {None: as_nobody, VIEWER: as_viewer, OPERATOR: as_operator, ADMIN: as_admin}


def test_every_route_is_in_the_table_and_nothing_else():
    """S48. S33."""
    in_table = {resolve(path).route.replace("^", "") for path in LEAST_ROLE}
    assert in_table == {route.replace("^", "") for route, _ in routes()}


@pytest.mark.parametrize("path", LEAST_ROLE)
def test_each_role_may_do_what_the_table_says(path, client_of, redis):
    """C03, S33."""
    wrong = []
    for method in METHODS:
        least = LEAST_ROLE[path].get("GET" if method == "HEAD" else method)
        for role in ROLES:
            answer = client_of[role].generic(method, path, b"{}", "application/json")
            denial = expected(least, role)
            # What nobody may do may also be refused for want of a sign-in.
            allowed = {denial, 401} if denial == 405 and role is None else {denial}
            got = answer.status_code if answer.status_code in DENIALS else None
            if got not in allowed:
                wrong.append((method, role, answer.status_code, answer.content[:200]))
    assert wrong == []


@pytest.mark.parametrize("path", [path for path in LEAST_ROLE if path != "/"])
def test_a_slash_at_the_end_is_the_same_route(path):
    assert resolve(f"{path}/").route == resolve(path).route
    assert resolve(f"{path}/").func == resolve(path).func


@pytest.mark.parametrize("path", ["/healthz", "/api/health"])
def test_the_other_names_of_readiness_are_open(path, as_nobody, redis):
    assert as_nobody.get(path).status_code == 200
