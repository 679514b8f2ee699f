"""Adds expositions of several workers up, in Prometheus' text format. Pure.

Counters and histograms never go down: what a worker had counted when it was last asked stays in
the sum after its death, because Prometheus would take a smaller sum for a restart of everything and
count all of it once more. What it counted after that is lost with it. Gauges are of those workers
that answer now.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

_CREATED: Final = "_created"
"""When a counter began, of which the sum of several makes no sense; left out."""


@dataclass(slots=True)
class Family:
    """One metric with all its samples: `name{labels}` -> value."""

    help: str = ""
    kind: str = "gauge"
    samples: dict[str, float] = field(default_factory=dict)


Families = dict[str, Family]


def parse(text: str) -> Families:
    """The families of an exposition, as prometheus_client writes it."""
    families: Families = {}
    current = Family()
    for line in text.splitlines():
        match line.split(" ", 3):
            case ["#", "HELP", name, text_of_help]:
                current = families.setdefault(name, Family())
                current.help = text_of_help
            case ["#", "TYPE", name, kind]:
                current = families.setdefault(name, Family())
                current.kind = kind
            case _:
                series, separator, value = line.rpartition(" ")
                if separator:
                    current.samples[series] = float(value)
    return {name: found for name, found in families.items() if not name.endswith(_CREATED)}


class Sums:
    """What all workers have counted together since the first of them."""

    def __init__(self, not_added: Mapping[str, Callable[[Iterable[float]], float]]) -> None:
        """`not_added`: gauges that are combined in another way."""
        self._not_added = not_added
        self._ended: Families = {}
        self._last: dict[int, tuple[int, Families]] = {}

    def add_up(self, starts: Mapping[int, int], answers: Mapping[int, str]) -> str:
        """The exposition of all. `starts` tells which life of each worker is meant."""
        for number, start in starts.items():
            last = self._last.get(number)
            if last is not None and last[0] != start:
                _add_counts(self._ended, self._last.pop(number)[1])
            if number in answers:
                self._last[number] = (start, parse(answers[number]))
        total: Families = {}
        _add_counts(total, self._ended)
        for _, families in self._last.values():
            _add_counts(total, families)
        self._combine_gauges(total, [self._last[number][1] for number in sorted(answers)])
        return _text(total)

    def _combine_gauges(self, total: Families, answered: list[Families]) -> None:
        for families in answered:
            for name, family in families.items():
                if family.kind == "gauge" and name not in total:
                    combine = self._not_added.get(name, sum)
                    every = [other[name].samples for other in answered if name in other]
                    # In the order of the first appearance, which a set would lose.
                    series = dict.fromkeys(one for samples in every for one in samples)
                    total[name] = Family(family.help, family.kind)
                    total[name].samples = {
                        one: combine(samples[one] for samples in every if one in samples)
                        for one in series
                    }


def _add_counts(total: Families, families: Families) -> None:
    for name, family in families.items():
        if family.kind != "gauge":
            into = total.setdefault(name, Family(family.help, family.kind)).samples
            for series, value in family.samples.items():
                into[series] = into.get(series, 0.0) + value


def _text(families: Families) -> str:
    lines = []
    for name, family in families.items():
        lines += [f"# HELP {name} {family.help}", f"# TYPE {name} {family.kind}"]
        lines += [f"{series} {value!r}" for series, value in family.samples.items()]
    return "\n".join(lines) + "\n"
