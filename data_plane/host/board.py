"""The board: active counts of all workers of this host, in memory that they share.

Rules:
  - A worker writes its own row and nobody else's, so nothing is ever locked. The parent writes a
    row only when its worker is dead.
  - A row is a table (slot -> node id and active count) and a ring of the latest changes. Every
    change is an absolute count in one aligned word, marked with its position: reading one twice
    does no harm, and one that is not there yet or was overwritten is recognised.
  - A reader that is too far behind, or finds a mark that it does not expect, reads the table.

So a change costs each other worker one word, however many nodes there are, and choosing a node sees
what every worker of the host has taken until this moment.
"""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING, Final

from data_plane.settings import MAX_WORKERS

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

SLOTS: Final = 4_096
"""Nodes at which one worker may have requests at one time and still be seen by the others: four
times as many nodes as we are built for. A slot is given away when its count is zero."""

ID_BYTES: Final = 64
"""A node id is a UUID in text, 36 bytes. A longer one stays unseen by the other workers."""

RING: Final = 1_024
"""Changes kept for readers. One that has been idle for longer reads the table, in some 50 us."""

_MARGIN: Final = 64
"""Changes that a worker may write while another reads; a mark tells if it were more."""

_WORD: Final = 8
_TABLE_AT: Final = RING * _WORD
_IDS_AT: Final = _TABLE_AT + SLOTS * 4
_ROW_BYTES: Final = _IDS_AT + SLOTS * ID_BYTES
_HEADS_AT: Final = 0
_STARTS_AT: Final = MAX_WORKERS * _WORD
_ROWS_AT: Final = 2 * MAX_WORKERS * _WORD

# One change: position (16 bits) | is a new name (1) | slot (15) | count (32)
_POSITION_AT: Final = 48
_POSITION: Final = 0xFFFF
_NAMED: Final = 1 << 47
_SLOT_AT: Final = 32
_SLOT: Final = 0x7FFF
_COUNT: Final = 0xFFFFFFFF


class Board:
    """The memory. Made by the parent before it forks; workers are numbered from 1."""

    def __init__(self, workers: int) -> None:
        if not 1 <= workers <= MAX_WORKERS:
            raise ValueError(f"from 1 to {MAX_WORKERS} workers, not {workers}")
        self.workers = workers
        # Anonymous and shared: it is in no file system, and gone with the last process.
        self._memory = memoryview(mmap.mmap(-1, _ROWS_AT + workers * _ROW_BYTES))
        self.heads = self._memory[_HEADS_AT:_STARTS_AT].cast("Q")
        """How many changes each worker has written."""

        self._starts = self._memory[_STARTS_AT:_ROWS_AT].cast("Q")

    def ring(self, number: int) -> memoryview:
        """A worker's latest changes."""
        return self._part(number, 0, _TABLE_AT).cast("Q")

    def table(self, number: int) -> memoryview:
        """A worker's active counts by slot."""
        return self._part(number, _TABLE_AT, _IDS_AT).cast("I")

    def ids(self, number: int) -> memoryview:
        """A worker's node ids by slot, padded with zeros."""
        return self._part(number, _IDS_AT, _ROW_BYTES)

    def _part(self, number: int, start: int, end: int) -> memoryview:
        row = _ROWS_AT + (number - 1) * _ROW_BYTES
        return self._memory[row + start : row + end]

    def clear(self, number: int) -> None:
        """Take a dead worker's counts away; by the parent, or by the worker that follows it."""
        self._part(number, _TABLE_AT, _IDS_AT)[:] = bytes(_IDS_AT - _TABLE_AT)
        self.heads[number - 1] += 2 * RING  # nobody can follow that far: all read the table

    def starts(self, number: int) -> int:
        """How often a worker was started: tells one life of it from the next."""
        return self._starts[number - 1]

    def started(self, number: int) -> None:
        """By the parent, before it starts a worker."""
        self._starts[number - 1] += 1


class HostCounts:
    """One worker's view of the board: it writes its row and follows the rows of its mates."""

    def __init__(self, board: Board, number: int) -> None:
        board.clear(number)
        self.elsewhere: dict[str, int] = {}
        """Node id -> active count over the other workers, as of the last `catch_up`."""

        self._index = number - 1
        self._heads = board.heads
        self._head = board.heads[self._index]
        self._ring = board.ring(number)
        self._table = board.table(number)
        self._ids = board.ids(number)
        self._slots: dict[str, int] = {}
        self._mates = [
            _Mate(board, mate, self.elsewhere)
            for mate in range(1, board.workers + 1)
            if mate != number
        ]

    def write(self, node_id: str, count: int) -> None:
        """Say how many requests this worker has at a node."""
        slot, named = self._slots.get(node_id), 0
        if slot is None:
            slot, named = self._allot(node_id), _NAMED
            if slot is None:
                return
        head = self._head
        self._table[slot] = count
        self._ring[head % RING] = (
            (head & _POSITION) << _POSITION_AT | named | slot << _SLOT_AT | count
        )
        self._head = self._heads[self._index] = head + 1

    def _allot(self, node_id: str) -> int | None:
        name = node_id.encode()
        if len(name) > ID_BYTES:
            return None
        slot = len(self._slots) if len(self._slots) < SLOTS else self._take_over()
        if slot is not None:
            self._slots[node_id] = slot
            self._ids[slot * ID_BYTES : (slot + 1) * ID_BYTES] = name.ljust(ID_BYTES, b"\0")
        return slot

    def _take_over(self) -> int | None:
        """The slot of some node at which nothing runs."""
        for node_id, slot in self._slots.items():
            if not self._table[slot]:
                del self._slots[node_id]
                return slot
        return None

    def catch_up(self) -> AbstractSet[str]:
        """Take in what the mates have written. The nodes whose count elsewhere may be another."""
        touched: set[str] = set()
        heads = self._heads
        for mate in self._mates:
            head = heads[mate.index]
            if head != mate.position:
                mate.follow(head, touched)
        for node_id in touched:
            if not self.elsewhere[node_id]:
                del self.elsewhere[node_id]
        return touched


class _Mate:
    """What one worker knows of another's row."""

    __slots__ = ("_counts", "_ids", "_names", "_ring", "_table", "_totals", "index", "position")

    def __init__(self, board: Board, number: int, totals: dict[str, int]) -> None:
        self.index = number - 1
        self.position = -1
        """Changes up to here are in `totals`; -1: the table has not been read yet."""

        self._ring = board.ring(number)
        self._table = board.table(number)
        self._ids = board.ids(number)
        self._names: dict[int, str] = {}
        self._counts: dict[int, int] = {}
        self._totals = totals

    def follow(self, head: int, touched: set[str]) -> None:
        """Take in the changes before `head`."""
        if not self._replay(head, touched):
            self._reread(touched)
        self.position = head

    def _replay(self, head: int, touched: set[str]) -> bool:
        position = self.position
        if position < 0 or head - position > RING - _MARGIN:
            return False
        # What each request costs every other worker: local names, and no call per change.
        ring, counts, names, totals = self._ring, self._counts, self._names, self._totals
        while position < head:
            change = ring[position % RING]
            if change >> _POSITION_AT != position & _POSITION:
                return False
            position += 1
            slot = change >> _SLOT_AT & _SLOT
            if change & _NAMED:
                self._saw(slot, 0, touched)
                names[slot] = self._name(slot)
            count = change & _COUNT
            before = counts.get(slot, 0)
            if count != before:
                counts[slot] = count
                node_id = names.get(slot) or self._named(slot)
                totals[node_id] = totals.get(node_id, 0) + count - before
                touched.add(node_id)
        return True

    def _reread(self, touched: set[str]) -> None:
        for slot in list(self._counts):
            self._saw(slot, 0, touched)
        self._names.clear()
        for slot, count in enumerate(self._table.tolist()):
            if count:
                self._saw(slot, count, touched)

    def _name(self, slot: int) -> str:
        name = self._ids[slot * ID_BYTES : (slot + 1) * ID_BYTES].tobytes()
        return name.rstrip(b"\0").decode(errors="replace")

    def _named(self, slot: int) -> str:
        name = self._names[slot] = self._name(slot)
        return name

    def _saw(self, slot: int, count: int, touched: set[str]) -> None:
        before = self._counts.get(slot, 0)
        if count != before:
            self._counts[slot] = count
            node_id = self._names.get(slot) or self._named(slot)
            self._totals[node_id] = self._totals.get(node_id, 0) + count - before
            touched.add(node_id)
