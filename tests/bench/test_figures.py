"""The table: every value beside its ratio to the base's."""

import dataclasses

import pytest
from figures import ROWS, Figures, table

NGINX = Figures("nginx", "/api/chat", cpu_per_request_us=20.0, requests_per_s=20_000.0)
OURS = Figures("aivonx", "/api/chat", cpu_per_request_us=50.0, requests_per_s=10_000.0, errors=3)


def line(text: str, label: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(label))


def test_values_stand_beside_their_ratio() -> None:
    assert line(table([NGINX, OURS], "nginx"), "CPU µs/request").split()[2:] == [
        "20.0", "1.00x", "50.0", "2.50x",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("cost", "ratio"), [(2.0, "0.10x"), (199.0, "9.95x"), (254.0, "12.7x"), (14_153.0, "708x")]
)
def test_a_ratio_has_three_digits_however_large_it_is(cost, ratio) -> None:
    column = dataclasses.replace(OURS, cpu_per_request_us=cost)
    assert line(table([NGINX, column], "nginx"), "CPU µs/request").split()[-1] == ratio


def test_without_the_base_there_are_values_alone() -> None:
    assert line(table([OURS], "nginx"), "CPU µs/request").split()[2:] == ["50.0"]


def test_what_was_not_measured_is_a_dash_or_no_line() -> None:
    slow = dataclasses.replace(OURS, name="slow", cpu_per_request_us=None)
    shown = table([NGINX, slow], "nginx")
    assert line(shown, "CPU µs/request").split()[2:] == ["20.0", "1.00x", "-"]
    assert "600 KB" not in shown


def test_no_ratio_where_one_side_is_below_zero() -> None:
    base = dataclasses.replace(NGINX, ttft_added_p50_us=-2.0)
    ours = dataclasses.replace(OURS, ttft_added_p50_us=40.0)
    swapped = [dataclasses.replace(ours, name="nginx"), dataclasses.replace(base, name="aivonx")]
    assert line(table(swapped, "nginx"), "TTFT added p50").split()[4:] == ["40", "1.00x", "-2"]
    assert line(table([base, ours], "nginx"), "TTFT added p50").split()[4:] == ["-2", "40"]


def test_errors_are_shown_as_they_are() -> None:
    assert line(table([NGINX, OURS], "nginx"), "errors").split() == ["errors", "0", "3"]


def test_a_load_at_its_limit_is_named() -> None:
    fast = dataclasses.replace(NGINX, load_busy=0.97)
    assert table([fast, OURS], "nginx").endswith("more requests/s: nginx)")


def test_every_line_of_the_table_is_a_figure() -> None:
    for row in ROWS:
        NGINX.value(row.measure)


def test_a_measure_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="cpu_per_requset_us"):
        NGINX.value("cpu_per_requset_us")
