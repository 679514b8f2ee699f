"""What all scanners share: cheap looks at lines that say nothing."""

import pytest

from data_plane.protocol.lines import LineScanner

pytestmark = pytest.mark.interpreted  # compiled, a scanner is extended by compiled ones only


class Noting(LineScanner):
    """Notes the lines that it was shown."""

    __slots__ = ("noted",)
    needles = (b"!",)

    def __init__(self):
        super().__init__(max_line_bytes=100)
        self.noted = []

    def read_line(self, line):
        self.noted.append(line)


def test_only_lines_with_a_needle_are_read():
    scanner = Noting()
    scanner.feed(b"one\ntwo!\nthree\n")
    assert scanner.noted == [b"two!"]


def test_a_line_is_read_once_it_is_whole():
    scanner = Noting()
    for chunk in (b"a", b"!", b"b"):
        scanner.feed(chunk)
        assert scanner.noted == []
    scanner.feed(b"c\nd")
    assert scanner.noted == [b"a!bc"]


def test_what_is_left_counts_at_the_end_and_once():
    scanner = Noting()
    scanner.feed(b"a!")
    scanner.end()
    scanner.end()
    assert scanner.noted == [b"a!"]


def test_an_empty_chunk_changes_nothing():
    scanner = Noting()
    scanner.feed(b"a!")
    scanner.feed(b"")
    scanner.feed(b"\n")
    assert scanner.noted == [b"a!"]


def test_a_line_without_a_needle_leaves_nothing_behind():
    scanner = Noting()
    scanner.feed(b"plain\n")
    assert len(scanner.rest) == 0
