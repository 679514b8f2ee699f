import pytest

from control_plane.common.errors import ApiError
from control_plane.common.pagination import LimitOffset

NAMES = "/api/account/users?fields=username&ordering=username"


def test_a_list_is_read_page_by_page(as_admin):
    first = as_admin.get(f"{NAMES}&limit=2").json()
    assert [row["username"] for row in first["results"]] == ["alice", "bob"]
    assert (first["count"], first["previous"]) == (3, None)
    last = as_admin.get(first["next"]).json()
    assert [row["username"] for row in last["results"]] == ["charlie"]
    assert last["next"] is None


def test_beyond_the_end_there_is_nothing(as_admin):
    assert as_admin.get(f"{NAMES}&offset=1000").json()["results"] == []


@pytest.mark.parametrize(("asked", "given"), [("1", 1), ("1000", 1_000), ("999999", 1_000)])
def test_a_large_limit_is_capped(asked, given):
    assert _limit(asked) == given


@pytest.mark.parametrize("asked", ["0", "-1", "1e9", "", "x", "\u0661", " 1", "9" * 40])
def test_a_limit_that_is_no_number_is_refused(asked):
    with pytest.raises(ApiError) as caught:
        _limit(asked)
    assert caught.value.code == "invalid_filter"


def _limit(asked: str) -> int:
    class Request:
        query_params = {"limit": asked}

    return LimitOffset().get_limit(Request())
