"""Reading what the load tools print."""

import pytest
from outputs import Requests, UnreadableError, middle, requests, streams

WRK = """Running 4s test @ http://127.0.0.1:38179/api/chat
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   844.84us    1.28ms  13.84ms   89.88%
    Req/Sec    39.32k    11.86k   58.78k    60.00%
  78327 requests in 2.01s, 23.68MB read
"""
RATE = "Requests/sec:  39055.49\nTransfer/sec:     11.81MB\n"
LINE = (
    "measuring\nmeasured\nwindow seconds 3.000 chunks 29987 streams 149 errors 2 silent 3 "
    "delay_us p50 354.5 p99 5928.5 max 9747.6 ttft_us p50 673.6 p99 10105.3 max 11023.8\n"
)


def test_a_clean_run_of_wrk_has_no_errors() -> None:
    assert requests(WRK + RATE) == Requests(count=78327, per_s=39055.49, errors=0)


def test_refusals_and_socket_faults_are_errors() -> None:
    faults = "  Socket errors: connect 1, read 2, write 3, timeout 4\n"
    refused = "  Non-2xx or 3xx responses: 100\n"
    assert requests(WRK + faults + refused + RATE).errors == 110


def test_silent_streams_are_errors() -> None:
    assert streams(LINE)[0].errors == 5


def test_delays_and_first_tokens_are_told_apart() -> None:
    [seen] = streams(LINE)
    assert (seen.delay_p50, seen.delay_p99) == (354.5, 5928.5)
    assert (seen.ttft_p50, seen.ttft_p99) == (673.6, 10105.3)


def test_windows_are_one_by_sums_and_by_the_delay_in_the_middle() -> None:
    slow, quick = LINE.replace("p50 354.5", "p50 900.0"), LINE.replace("p50 354.5", "p50 50.0")
    seen = middle(streams(slow + LINE + quick))
    assert (seen.chunks, seen.errors, seen.seconds) == (3 * 29987, 15, 9.0)
    assert seen.delay_p50 == 354.5


def test_windows_without_a_sample_have_no_middle() -> None:
    empty = "window seconds 3.000 chunks 0 streams 0 errors 0 silent 5\n"
    assert middle(streams(empty)).delay_p50 is None
    assert middle(streams(empty + LINE)).delay_p50 == 354.5


def test_a_run_without_a_sample_has_no_delay() -> None:
    [seen] = streams("window seconds 3.000 chunks 0 streams 0 errors 0 silent 5\n")
    assert seen.delay_p50 is None
    assert seen.ttft_p99 is None


@pytest.mark.parametrize("read", [requests, streams])
def test_a_tool_that_failed_is_named_with_its_words(read) -> None:
    with pytest.raises(UnreadableError, match="unable to connect"):
        read("unable to connect to 127.0.0.1:1")
