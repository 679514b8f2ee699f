"""What the READMEs promise is linked to what proves it."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LINK = re.compile(r"\]\((tests/[^)]+\.py)\)")


def test_every_promise_of_the_readme_is_linked_to_a_test_that_is_there() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.partition("## What is promised")[2].partition("\n## ")[0]
    promises = [line for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert len(promises) > 8
    for line in promises[1:]:
        links = LINK.findall(line)
        assert links, line
        for link in links:
            assert (ROOT / link).is_file(), link


@pytest.mark.parametrize("plane", ["control_plane", "data_plane"])
def test_each_plane_has_its_threat_model(plane: str) -> None:
    """S58."""
    text = (ROOT / plane / "README.md").read_text(encoding="utf-8")
    model = text.partition("## Threats")[2].partition("\n## ")[0]
    for threat in ("Spoofing", "Tampering", "Repudiation", "Disclosure", "Denial", "Elevation"):
        assert f"| {threat}" in model


def test_bandits_rules_are_in_force() -> None:
    """S60."""
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]
    assert lint["lint"]["select"] == ["ALL"]
    assert not [rule for rule in lint["lint"]["ignore"] if re.fullmatch(r"S\d+|S", rule)]
    for folder, rules in lint["lint"]["per-file-ignores"].items():
        assert folder.startswith(("tests", "deploy")) or "S" not in {rule[0] for rule in rules}
