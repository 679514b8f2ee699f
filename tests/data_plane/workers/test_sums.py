"""Adding expositions up: counts never go down, gauges are of those who answer."""

from prometheus_client.parser import text_string_to_metric_families

from data_plane.telemetry.metrics import NOT_ADDED, Metrics
from data_plane.telemetry.record import Record
from data_plane.workers.sums import Sums, parse

COUNTER = "# HELP c_total Things.\n# TYPE c_total counter\n"
GAUGE = "# HELP g Now.\n# TYPE g gauge\n"


def sums() -> Sums:
    return Sums({"low": min, "high": max})


def values(text: str) -> dict[str, float]:
    return {
        series: value for family in parse(text).values() for series, value in family.samples.items()
    }


def test_counters_are_added_label_by_label() -> None:
    text = sums().add_up(
        {1: 1, 2: 1},
        {
            1: COUNTER + 'c_total{a="x y",b="1"} 2.0\n',
            2: COUNTER + 'c_total{a="x y",b="1"} 3.0\nc_total{a="z",b="1"} 1.0\n',
        },
    )
    assert values(text) == {'c_total{a="x y",b="1"}': 5.0, 'c_total{a="z",b="1"}': 1.0}
    assert text.startswith(COUNTER)


def test_a_dead_workers_counts_stay_in_the_sum() -> None:
    adder = sums()
    adder.add_up({1: 1, 2: 1}, {1: COUNTER + "c_total 10\n", 2: COUNTER + "c_total 1\n"})
    dead = adder.add_up({1: 1, 2: 1}, {2: COUNTER + "c_total 1\n"})
    assert values(dead) == {"c_total": 11}
    reborn = adder.add_up({1: 2, 2: 1}, {1: COUNTER + "c_total 3\n", 2: COUNTER + "c_total 1\n"})
    assert values(reborn) == {"c_total": 14}
    later = adder.add_up({1: 2, 2: 1}, {1: COUNTER + "c_total 4\n", 2: COUNTER + "c_total 1\n"})
    assert values(later) == {"c_total": 15}


def test_a_life_that_nobody_asked_in_counts_for_nothing() -> None:
    adder = sums()
    adder.add_up({1: 1}, {1: COUNTER + "c_total 10\n"})
    assert values(adder.add_up({1: 5}, {1: COUNTER + "c_total 1\n"})) == {"c_total": 11}


def test_gauges_are_of_those_who_answer() -> None:
    adder = sums()
    both = adder.add_up({1: 1, 2: 1}, {1: GAUGE + "g 10\n", 2: GAUGE + "g 1\n"})
    assert values(both) == {"g": 11}
    assert values(adder.add_up({1: 1, 2: 1}, {2: GAUGE + "g 1\n"})) == {"g": 1}


def test_some_gauges_are_combined_in_another_way() -> None:
    parts = [
        f"# HELP low Low.\n# TYPE low gauge\nlow {low}\n"
        f"# HELP high High.\n# TYPE high gauge\nhigh {high}\n"
        for low, high in ((1, 5), (0, 7))
    ]
    text = sums().add_up({1: 1, 2: 1}, {1: parts[0], 2: parts[1]})
    assert values(text) == {"low": 0, "high": 7}


def test_nobody_answers() -> None:
    assert values(sums().add_up({1: 1, 2: 1}, {})) == {}


def served(route: str, seconds: float) -> Metrics:
    metrics = Metrics()
    record = Record("id", "127.0.0.1", "POST", 0.0)
    record.route, record.status = route, 200
    record.node = 'a "quoted" node\\'
    metrics.request(record, seconds)
    metrics.attempt(record.node, "ok")
    return metrics


def test_real_expositions_add_up_and_stay_readable() -> None:
    parts = [served("/api/chat", 0.3), served("/api/chat", 70.0), served("/v1/messages", 0.02)]
    text = Sums(NOT_ADDED).add_up(
        {1: 1, 2: 1, 3: 1},
        {number: part.exposition().decode() for number, part in enumerate(parts, 1)},
    )
    families = {family.name: family for family in text_string_to_metric_families(text)}
    requests = {
        sample.labels["route"]: sample.value for sample in families["aivonx_requests"].samples
    }
    assert requests == {"/api/chat": 2.0, "/v1/messages": 1.0}
    (attempts,) = families["aivonx_attempts"].samples
    assert attempts.labels["node"] == 'a "quoted" node\\'
    assert attempts.value == 3.0
    durations = families["aivonx_request_seconds"]
    assert durations.type == "histogram"
    buckets = {
        sample.labels["le"]: sample.value
        for sample in durations.samples
        if sample.name.endswith("_bucket") and sample.labels["route"] == "/api/chat"
    }
    assert (buckets["0.25"], buckets["0.5"], buckets["60.0"], buckets["120.0"]) == (0, 1, 1, 2)
    assert buckets["+Inf"] == 2
    assert "_created" not in text
