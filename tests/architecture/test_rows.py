"""The table of faults in tests/system/README.md: every row is there and proved where it says."""

import ast
import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
README = TESTS / "system" / "README.md"
ROWS = [
    f"{letter}{number:02d}"
    for letter, last in {"F": 66, "B": 76, "C": 34, "S": 60}.items()
    for number in range(1, last + 1)
]
LINE = re.compile(r"^\| ([FBCS]\d\d) \| (.+) \| (.+) \|$", re.MULTILINE)
ID = re.compile(r"\b[FBCS]\d\d\b")
ID_IN_NAME = re.compile(r"(?<=_)[fbcs]\d\d(?=_)")
UNPROVED = "—"


def proofs() -> dict[str, set[str]]:
    """By row: the files with a test that bears its id, in its name or its docstring."""
    found = defaultdict(set)
    for path in TESTS.rglob("test_*.py"):
        place = path.relative_to(TESTS).with_suffix("").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                named = {found_id.upper() for found_id in ID_IN_NAME.findall(node.name)}
                for row in named | set(ID.findall(ast.get_docstring(node) or "")):
                    found[row].add(place)
    for path in TESTS.rglob("*.toml"):
        place = path.relative_to(TESTS).as_posix()
        for row in tomllib.loads(path.read_text(encoding="utf-8")).get("row", []):
            for row_id in (row["id"], *row.get("also", ())):
                found[row_id].add(place)
    return found


PROOFS = proofs()
TABLE = LINE.findall(README.read_text(encoding="utf-8"))


def test_every_row_stands_there_once_and_in_order() -> None:
    assert [row for row, _, _ in TABLE] == ROWS


@pytest.mark.parametrize(("row", "outcome", "places"), TABLE, ids=[row for row, _, _ in TABLE])
def test_a_row_is_proved_where_it_says_so(row: str, outcome: str, places: str) -> None:
    if places == UNPROVED:
        assert row not in PROOFS, f"{row} is proved by {PROOFS[row]}: say so in {README.name}"
        assert ". " in outcome, f"{row} is not proved: say why, and what a user sees instead"
        return
    named = {place.strip("` ") for place in places.split(",")}
    assert named == PROOFS[row]


def test_the_count_of_rows_is_true() -> None:
    counted = sum(places != UNPROVED for _, _, places in TABLE)
    assert f"{counted} of {len(ROWS)} rows are proved" in README.read_text(encoding="utf-8")
