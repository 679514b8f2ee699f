"""Flights survive the trip, and what does not fit together is no record."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared import flights
from shared.flights import Flights, PairFlights, SentPrompt

FULL = Flights(
    life="l",
    turn=3,
    nodes=("n1", "n2"),
    models=("m",),
    active=(2, 0),
    pairs=(PairFlights(0, 0, 2, 150),),
    sent=7,
    prompts=(SentPrompt(1, 0, flights.pack((1, 2**64 - 1))),),
)


@pytest.mark.parametrize("told", [FULL, Flights()])
def test_flights_survive_the_trip(told: Flights) -> None:
    assert flights.decode(flights.encode(told)) == told


def test_a_reader_takes_no_notice_of_fields_that_it_does_not_know() -> None:
    later = msgspec.to_builtins(FULL) | {"bandwidth": [1, 2]}
    later["prompts"] = FULL.prompts
    assert flights.decode(msgspec.msgpack.encode(later)) == FULL


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"\x00" * 40,
        flights.encode(msgspec.structs.replace(FULL, active=(2,))),
        flights.encode(msgspec.structs.replace(FULL, sent=0)),
        flights.encode(msgspec.structs.replace(FULL, pairs=(PairFlights(2, 0, 1),))),
        flights.encode(msgspec.structs.replace(FULL, pairs=(PairFlights(0, 1, 1),))),
        flights.encode(msgspec.structs.replace(FULL, pairs=(PairFlights(0, 0, -1),))),
        flights.encode(msgspec.structs.replace(FULL, prompts=(SentPrompt(9, 0, b""),))),
        flights.encode(msgspec.structs.replace(FULL, prompts=(SentPrompt(0, 0, b"odd"),))),
        flights.encode(Flights(life="x" * flights.MAX_BYTES)),
    ],
)
def test_what_cannot_be_read_or_does_not_fit_together_is_none(data: bytes) -> None:
    assert flights.decode(data) is None


@given(st.lists(st.integers(0, 2**64 - 1)))
def test_hashes_survive_packing(blocks: list[int]) -> None:
    packed = flights.pack(tuple(blocks))
    assert len(packed) == flights.HASH_BYTES * len(blocks)
    assert flights.unpack(packed) == tuple(blocks)


def test_the_largest_record_that_we_write_is_read() -> None:
    count = flights.MAX_PAIRS
    largest = Flights(
        life="0" * 16,
        turn=1_000_000_000,
        nodes=tuple(f"{number:036}" for number in range(count)),
        models=tuple(f"{number:064}" for number in range(count)),
        active=(1_000_000_000,) * count,
        pairs=tuple(PairFlights(each, each, 10**9, 10**9) for each in range(count)),
        sent=1_000_000_000,
        prompts=tuple(SentPrompt(count - 1, count - 1, bytes(64)) for _ in range(512)),
    )
    data = flights.encode(largest)
    assert len(data) < flights.MAX_BYTES
    assert flights.decode(data) == largest
