import pytest

USERS = "/api/account/users"
LISTS = (
    USERS,
    "/api/account/keys",
    "/api/audit",
    "/api/proxy/nodes",
    "/api/proxy/jobs",
    "/api/proxy/models",
)


def names(client, query: str) -> list[str]:
    answer = client.get(f"{USERS}?{query}")
    assert answer.status_code == 200, answer.content
    return [row["username"] for row in answer.json()["results"]]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("", ["alice", "bob", "charlie"]),
        ("role=operator", ["bob"]),
        ("is_active=true&ordering=-username", ["charlie", "bob", "alice"]),
        ("is_active=False", []),
        ("is_active=", ["alice", "bob", "charlie"]),
        ("search=AL", ["alice"]),
        ("username=bob", ["bob"]),
        ("ordering=role,-username", ["alice", "bob", "charlie"]),
    ],
)
def test_what_is_offered_works(query, found, as_admin):
    assert names(as_admin, query) == found


@pytest.mark.parametrize(
    ("query", "parameter"),
    [
        ("rolle=operator", "rolle"),
        ("password=x", "password"),
        ("username__startswith=a", "username__startswith"),
        ("is_active=1", "is_active"),
        ("role=king", "role"),
        ("ordering=-password", "ordering"),
        ("ordering=username,nope", "ordering"),
        ("x" * 500 + "=1", "x" * 64),
    ],
)
def test_what_is_not_offered_is_refused_by_name(query, parameter, as_admin):
    """S38."""
    answer = as_admin.get(f"{USERS}?{query}")
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_filter"
    assert set(answer.json()["errors"]) == {parameter}


def test_search_is_refused_where_there_is_nothing_to_search_in(as_admin):
    answer = as_admin.get("/api/audit?search=alice")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")


@pytest.mark.parametrize("path", LISTS)
@pytest.mark.parametrize(
    "query",
    [
        "password=x",
        "__class__=x",
        "id__gt=0",
        "created_by__password__startswith=a",
        "ordering=password",
        "ordering=-__class__",
        "ordering=created_by__password",
        "ordering=;drop",
        "search=" + "a%20" * 1_500,
        "search=" + "a," * 2_000,
        "search=%00",
        "limit=0",
        "limit=-1",
        "limit=1e9",
        "limit=" + "9" * 5_000,
        "limit=%C2%B2",
        "offset=-1",
        "offset=x",
        "cursor=x",
        "fields=password",
    ],
    ids=lambda query: query[:40],
)
def test_c18_c19_no_list_takes_what_it_does_not_offer(path, query, as_admin):
    answer = as_admin.get(f"{path}?{query}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")
    assert len(answer.content) < 2_000


@pytest.mark.parametrize("path", LISTS)
def test_c19_a_page_of_a_milliard_and_one_beyond_the_end_are_given(path, as_admin):
    assert as_admin.get(f"{path}?limit=1000000000").status_code == 200
    beyond = as_admin.get(f"{path}?offset=999999999999999")
    assert (beyond.status_code, beyond.json()["results"]) == (200, [])


@pytest.mark.parametrize("path", ["/api/audit", "/api/proxy/jobs"])
@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00%2B14:00", "9999-12-31T23:59:59-14:00", "soon", "10000-01-01"]
)
@pytest.mark.parametrize("name", ["since", "until"])
def test_c18_a_time_beyond_the_calendar_is_refused(path, moment, name, as_admin):
    answer = as_admin.get(f"{path}?{name}={moment}")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")
    assert set(answer.json()["errors"]) == {name}


@pytest.mark.parametrize("path", ["state", "active-requests", "explain"])
def test_c18_what_is_no_list_takes_no_unknown_parameter_either(path, as_viewer):
    answer = as_viewer.get(f"/api/proxy/{path}?nodes=x")
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_filter")
    assert set(answer.json()["errors"]) == {"nodes"}
