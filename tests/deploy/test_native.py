"""Compiling: what it needs, and what is said where something is missing."""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

import pytest
from fakes.make_run import is_alive
from fakes.processes import eventually

from data_plane import native as found
from deploy.local import native
from deploy.local.children import Child
from deploy.local.settings import Settings, make_data_dir
from deploy.local.supervisor import Supervisor


def test_no_compiler_is_said_with_what_to_do(monkeypatch, tmp_path) -> None:
    (tmp_path / "Python.h").touch()
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(native.NativeError, match="no C compiler .*apt install gcc"):
        native.compiler_found()
    assert not native.is_worth_trying()


def test_no_header_files_are_said_with_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(sysconfig, "get_path", lambda _name: str(tmp_path))
    with pytest.raises(native.NativeError, match=r"Python\.h is missing .*python3-dev"):
        native.compiler_found()


def test_an_environment_without_mypyc_is_named(monkeypatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(native.NativeError, match="mypy is not installed"):
        native.compiler_found()


def test_a_directory_that_cannot_be_written_is_named(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(native, "compiler_found", lambda: "cc")
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "absent"))
    assert native.main([]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_what_is_compiled_already_is_left_alone(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(native, "compiler_found", lambda: "cc")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    found.place().mkdir(parents=True)
    assert native.main([]) == 0
    assert native.build()
    assert not native.is_worth_trying()
    assert capsys.readouterr().err == ""


def test_only_the_newest_states_are_kept(tmp_path) -> None:
    for number in range(5):
        built = tmp_path / f"cpython-3-{number}"
        built.mkdir()
        os.utime(built, (number, number))
    (tmp_path / "cache").mkdir()
    native._prune(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "cache", "cpython-3-2", "cpython-3-3", "cpython-3-4",
    ]  # fmt: skip


def test_a_compiler_that_fails_leaves_nothing_and_its_words(monkeypatch, tmp_path, capsys) -> None:
    monkeypatch.setattr(native, "compiler_found", lambda: "/bin/false")
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    monkeypatch.setattr(native, "RUN", (sys.executable, "-c", "import sys; sys.exit('no room')"))
    assert native.main([]) == 1
    assert "no room" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "native").iterdir()] == ["lock"]
    assert Path(found.place()).parent == tmp_path / "native"


@pytest.mark.parametrize(
    ("code", "words"), [(0, "requests cost less from the next start on"), (1, "see {log}")]
)
def test_whoever_waits_at_the_terminal_is_told_once(code, words, tmp_path, capsys) -> None:
    settings = Settings.read({"AIVONX_DATA_DIR": str(tmp_path)})
    make_data_dir(settings.data_dir)
    supervisor = Supervisor(settings)
    compiler = supervisor._child("native", (sys.executable, "-c", f"raise SystemExit({code})"))
    compiler.start()
    supervisor.compiler = compiler
    assert compiler.wait(20.0)
    supervisor._hear_compiler()
    supervisor._hear_compiler()
    said = capsys.readouterr().err
    assert words.format(log=compiler.log_path) in said
    assert said.count("\n") == 1


def test_what_a_compiler_has_started_ends_with_it(tmp_path) -> None:
    log = tmp_path / "native.log"
    script = (
        "import subprocess; started = subprocess.Popen(['sleep', '60']); "
        "print(started.pid, flush=True); started.wait()"
    )
    compiler = Child("native", (sys.executable, "-c", script), dict(os.environ), log)
    compiler.start()
    eventually("it has started something", lambda: log.read_text().strip().isdigit(), 20.0)
    started = int(log.read_text())
    assert is_alive(started)
    compiler.kill_all()
    assert compiler.wait(10.0)
    eventually("that has ended, too", lambda: not is_alive(started), 10.0)
