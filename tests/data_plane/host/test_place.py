"""Names of workers: everybody of the group knows the others, and takes no stranger for one."""

from data_plane.host.board import Board
from data_plane.host.place import Place


def test_mates_are_the_workers_of_the_same_group() -> None:
    place = Place(2, "a", Board(4), None)
    assert place.instance == "a.2"
    assert {"a.1", "a.2", "a.64"} <= place.mates
    assert not place.mates & {"a", "a.0", "a.65", "b.1", "aa.1"}
