import pytest

USERS = "/api/account/users"


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
