"""The shape of the tree: its rooms, its mirror in the tests, and what must not lie about."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = {"control_plane", "data_plane", "deploy", "shared", "tests"}
MIRRORED = ("shared", "data_plane/protocol", "data_plane/routing")


def files() -> list[Path]:
    """What git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    paths = [Path(line) for line in listed.stdout.splitlines()]
    return [path for path in paths if (ROOT / path).is_file()]


def test_there_are_five_rooms() -> None:
    tops = {path.parts[0] for path in files() if len(path.parts) > 1}
    assert {top for top in tops if not top.startswith(".")} == ROOMS


def test_no_init_file_below_tests_shadows_a_real_package() -> None:
    assert not [path for path in files() if path.parts[0] == "tests" and path.name == "__init__.py"]


@pytest.mark.parametrize("folder", MIRRORED)
def test_every_module_has_its_test(folder: str) -> None:
    for module in (ROOT / folder).glob("*.py"):
        if module.name != "__init__.py":
            assert (ROOT / "tests" / folder / f"test_{module.name}").exists(), module


def test_nothing_is_left_to_do_in_a_comment() -> None:
    words = (
        "TO" + "DO",
        "FIX" + "ME",
        "XX" + "X:",
        "pytest.sk" + "ip",
        "mark.sk" + "ip",
        "xf" + "ail(",
    )
    for path in files():
        if path.suffix == ".py":
            text = (ROOT / path).read_text(encoding="utf-8")
            assert not [word for word in words if word in text], path


@pytest.mark.parametrize("folder", ["shared", "data_plane", "control_plane", "deploy"])
def test_packages_say_what_they_are_for(folder: str) -> None:
    for path in (ROOT / folder).rglob("__init__.py"):
        if "migrations" in path.parts or "management" in path.parts:
            continue
        assert path.read_text(encoding="utf-8").startswith('"""'), path
