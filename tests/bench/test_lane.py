"""The lane without kernel and network still leads from a request to its answer."""

import asyncio

import lane


def test_a_request_and_a_stream_come_to_their_end() -> None:
    async def all_of_it() -> lane.Lane:
        made = await lane.made()
        made.request()
        made.request_of_a_new_client()
        made.begin_stream()
        made.chunk()
        made.end_stream()
        return made

    made = asyncio.run(all_of_it())
    assert made.ear.heard.endswith(b"0\r\n\r\n")
    assert made.app.gate.in_flight == 0


def test_a_request_alone_leaves_at_once_and_those_of_a_rush_leave_together() -> None:
    async def asked_in_time() -> list[int]:
        made = await lane.made()
        at = [made.app.handler._now()]
        made.app.handler._now = lambda: at[0]
        clients = [made.connected()[0] for _ in range(3)]
        counts = []
        for client, later_s in zip(clients, (1.0, 0.0, 0.001), strict=True):
            at[0] += later_s
            made.begin(client)
            counts.append(made.asked_count())
        made.turn()
        return [*counts, made.asked_count()]

    assert asyncio.run(asked_in_time()) == [1, 1, 1, 3]
