"""The lane without kernel and network still leads from a request to its answer."""

import asyncio

import lane


def test_a_request_and_a_stream_come_to_their_end(tmp_path) -> None:
    async def all_of_it() -> lane.Lane:
        made = await lane.made(tmp_path)
        made.request()
        made.request_of_a_new_client()
        made.begin_stream()
        made.chunk()
        made.end_stream()
        return made

    made = asyncio.run(all_of_it())
    assert made.ear.heard.endswith(b"0\r\n\r\n")
    assert made.app.gate.in_flight == 0


def test_a_request_alone_leaves_one_turn_later_than_those_of_a_rush(tmp_path) -> None:
    async def asked_by_turn(clients: int) -> list[int]:
        made = await lane.made(tmp_path)
        for client, _ in [made.connected() for _ in range(clients)]:
            made.begin(client)
        counts = [made.asked_count()]
        while made.turn():
            counts.append(made.asked_count())
        return counts

    assert asyncio.run(asked_by_turn(1)) == [0, 0, 1]
    assert asyncio.run(asked_by_turn(3)) == [0, 3]
