"""How much a node's memory was seen to hold."""

import pytest

from data_plane.routing.room import Room


def test_it_holds_as_much_as_it_ever_held() -> None:
    room = Room()
    room.shows({"a": 6.0, "b": 4.0}, is_loading=False)
    room.shows({"a": 6.0}, is_loading=False)
    assert room.held_bytes == 10.0
    assert not room.is_known


@pytest.mark.parametrize(("left", "is_known"), [({"a": 6.0, "b": 4.0}, False), ({"b": 4.0}, True)])
def test_it_is_known_to_be_full_once_a_load_made_another_leave(left, is_known) -> None:
    room = Room()
    room.tries(frozenset({"a", "b"}))
    room.shows({"a": 6.0}, is_loading=True)  # it says nothing before the load is over
    room.shows(left, is_loading=False)
    assert room.is_known is is_known
    room.shows({"a": 6.0, "b": 4.0}, is_loading=False)
    assert room.is_known is is_known


def test_who_leaves_without_a_load_says_nothing_of_the_room() -> None:
    room = Room()
    room.shows({"a": 6.0, "b": 4.0}, is_loading=False)
    room.shows({"b": 4.0}, is_loading=False)
    assert not room.is_known
