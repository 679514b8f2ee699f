"""What several rounds of one proxy say together."""

from dataclasses import replace

from outputs import Streams
from scenarios import Burst, Flow, Round, summed_up


def window(delay: float, ttft: float) -> Streams:
    """One window of 100 chunks without an error."""
    return Streams(2.0, 100, 0, delay, 2 * delay, ttft, 2 * ttft)


def flow(*delays: float, cpu_us: float) -> Flow:
    """Windows with these delays, each of which cost as much."""
    return Flow([window(each, 10 * each) for each in delays], [cpu_us] * len(delays), 1_000)


def one_round(*delays: float, cpu_us: float, errors: int = 0) -> Round:
    """A round in which everything cost as much."""
    burst = Burst(cpu_us, 1e6 / cpu_us, 0.5, errors)
    busy = flow(*delays, cpu_us=100 * cpu_us)
    return Round("/api/chat", burst, burst, busy, (busy, 5_000, 20_000 + cpu_us))


QUIET, BUSY = one_round(10, 12, cpu_us=20), one_round(90, 14, cpu_us=30, errors=2)
DIRECT = window(5, 40)


def test_the_cheapest_window_of_requests_in_all_rounds_counts() -> None:
    for rounds in ([QUIET, BUSY], [BUSY, QUIET]):
        seen = summed_up("aivonx", rounds, DIRECT)
        assert (seen.cpu_per_request_us, seen.cpu_per_body_us, seen.requests_per_s) == (20, 20, 5e4)


def test_the_cost_of_a_chunk_in_the_middle_of_all_windows_counts() -> None:
    rounds = [QUIET, Round("/api/chat", busy=flow(10, cpu_us=2_500)), BUSY]
    seen = summed_up("aivonx", rounds, DIRECT)
    assert (seen.cpu_per_chunk_us, seen.open_cpu_per_chunk_us) == (25, 25)


def test_the_delay_in_the_middle_of_all_windows_counts() -> None:
    seen = summed_up("aivonx", [QUIET, BUSY], DIRECT)
    assert (seen.chunk_delay_p50_us, seen.open_delay_p99_us) == (13, 26)
    assert seen.ttft_added_p50_us == 130 - 40


def test_an_error_or_memory_of_one_round_is_not_made_good_by_another() -> None:
    seen = summed_up("aivonx", [QUIET, BUSY], DIRECT)
    assert seen.errors == 4
    assert BUSY.errors == {"requests": 2, "bodies": 2, "streams": 0, "open streams": 0}
    assert seen.open_stream_bytes == 20_030


def test_what_no_round_measured_is_not_known() -> None:
    bare = Round("/api/chat", busy=flow(10, cpu_us=2_000))
    empty = Round("/api/chat")
    seen = summed_up("nginx", [empty, bare], DIRECT)
    assert seen.cpu_per_chunk_us == 20
    absent = (seen.cpu_per_request_us, seen.open_streams, seen.open_delay_p99_us)
    assert absent == (None, None, None)
    assert (bare.errors, empty.errors) == ({"streams": 0}, {})


def test_what_the_host_stole_is_that_of_the_worst_round() -> None:
    rounds = [replace(QUIET, stolen_percent=each) for each in (0.5, 30.0, 0.0)]
    assert summed_up("aivonx", rounds, DIRECT).stolen_percent == 30
