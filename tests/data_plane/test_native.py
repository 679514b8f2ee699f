"""Which of the two a data plane runs: what was compiled, or the sources."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from data_plane import native
from shared.environ import SettingError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def nothing_compiled(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return native.place()


def test_the_sources_run_where_nothing_was_compiled(nothing_compiled) -> None:
    assert native.use({}) is None
    assert native.use({"AIVONX_NATIVE": "auto"}) is None


def test_whoever_insists_is_told_what_to_do(nothing_compiled) -> None:
    with pytest.raises(SettingError, match=r"AIVONX_NATIVE: .*make native"):
        native.use({"AIVONX_NATIVE": "on"})


def test_a_wish_that_is_none_is_refused(nothing_compiled) -> None:
    with pytest.raises(SettingError, match=r"AIVONX_NATIVE: must be one of auto, on, off"):
        native.use({"AIVONX_NATIVE": "please"})


@pytest.fixture
def tree(tmp_path) -> Path:
    for package in native.PACKAGES:
        shutil.copytree(ROOT / package.__name__, tmp_path / package.__name__)
    return tmp_path


def test_what_was_compiled_from_other_sources_is_not_found(tree) -> None:
    before = native.place(tree)
    assert before.name == native.place(ROOT).name
    with (tree / "data_plane/proxy/relay.py").open("a") as source:
        source.write("# one more line\n")
    assert native.place(tree) != before


def test_what_is_served_as_it_is_counts_too(tree) -> None:
    before = native.place(tree)
    (tree / "data_plane/openapi.json").write_text("{}")
    assert native.place(tree) != before


def test_a_link_to_nowhere_is_passed_over(tree) -> None:
    before = native.place(tree)
    (tree / "data_plane/.#app.py").symlink_to("somebody@somewhere")
    assert native.place(tree) == before


def test_a_file_that_is_no_source_changes_nothing(tree) -> None:
    before = native.place(tree)
    (tree / "data_plane" / "notes.md").write_text("...")
    assert native.place(tree) == before


WHICH = """
import os
from data_plane import native
native.use(os.environ)
import data_plane.proxy.relay, shared.codes, data_plane.proxy.server
print(data_plane.proxy.relay.__file__)
print(shared.codes.__file__)
print(data_plane.proxy.server.__file__)
"""


def test_what_runs_here_is_what_was_asked_for() -> None:
    """By this run of the tests: `make test` asks for the sources, then for the compiled."""
    wish = "on" if native.is_used() else "off"
    done = subprocess.run(
        [sys.executable, "-c", WHICH],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), native.SETTING: wish},
        capture_output=True,
        text=True,
        check=True,
    )
    relay, codes, server = map(Path, done.stdout.split())
    is_native = native.is_used()
    assert (relay.suffix == ".so", codes.suffix == ".so") == (is_native, is_native)
    assert server.is_relative_to(native.place() if is_native else ROOT / "data_plane")
