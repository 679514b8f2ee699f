"""The one endpoint of all workers, in this process, with workers that misbehave."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from data_plane.host.board import Board
from data_plane.workers.gathering import Gathering

FACTS = {"ready": True, "epoch": "e", "revision": 7, "in_flight": 2}


def listener() -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.bind("")
    sock.listen()
    return sock


@asynccontextmanager
async def worker(answer: Callable[[str], bytes]) -> AsyncIterator[object]:
    """One that answers these bytes to whatever is asked of it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(head.split()[1].decode()))
        writer.close()

    sock = listener()
    async with await asyncio.start_unix_server(serve, sock=sock):
        yield sock.getsockname()


def good(target: str) -> bytes:
    if target == "/metrics":
        return b"HTTP/1.0 200 OK\r\n\r\n# HELP c_total C.\n# TYPE c_total counter\nc_total 5\n"
    return b"HTTP/1.0 200 OK\r\n\r\n" + msgspec.json.encode(FACTS)


async def ask(gathering: Gathering, path: str) -> web.Response:
    answer = await gathering.answer(make_mocked_request("GET", path))
    assert isinstance(answer, web.Response)
    return answer


async def test_silence_rubbish_and_absence_are_left_out() -> None:
    silent, gone = listener(), listener()
    nowhere = gone.getsockname()
    gone.close()
    async with worker(good) as well, worker(lambda _: b"what?") as mad:
        addresses = {1: well, 2: mad, 3: silent.getsockname(), 4: nowhere}
        gathering = Gathering("a", Board(4), addresses)
        metrics = (await ask(gathering, "/metrics")).body.decode()
        assert "c_total 5.0\n" in metrics
        assert "aivonx_workers 1\n" in metrics
        readiness = await ask(gathering, "/readyz?verbose")
        assert readiness.status == 200
        facts = msgspec.json.decode(readiness.body)
        assert (facts["workers_ready"], facts["workers_wanted"]) == (1, 4)
        assert (facts["epoch"], facts["revision"], facts["in_flight"]) == ("e", 7, 2)
        assert [fact["worker"] for fact in facts["workers"]] == [1]
    silent.close()


async def test_the_word_of_the_whole_is_that_of_the_last() -> None:
    def behind(_: str) -> bytes:
        return b"HTTP/1.0 503 No\r\n\r\n" + msgspec.json.encode({**FACTS, "revision": 6})

    async with worker(good) as ahead, worker(behind) as late:
        gathering = Gathering("a", Board(2), {1: ahead, 2: late})
        facts = msgspec.json.decode((await ask(gathering, "/readyz?verbose")).body)
        assert facts["revision"] == 6
        assert facts["in_flight"] == 4
        assert facts["ready"] is True


async def test_not_ready_when_nobody_is() -> None:
    gathering = Gathering("a", Board(1), {1: b"\0nobody listens there"})
    assert (await ask(gathering, "/readyz")).status == 503
    assert (await ask(gathering, "/livez")).status == 200


async def test_the_answer_of_a_life_that_ended_meanwhile_is_not_taken() -> None:
    board = Board(1)

    def dying(target: str) -> bytes:
        board.started(1)
        return good(target)

    async with worker(dying) as address:
        metrics = (await ask(Gathering("a", board, {1: address}), "/metrics")).body.decode()
        assert "c_total" not in metrics
        assert "aivonx_workers 0\n" in metrics
