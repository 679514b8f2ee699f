"""Installing: what the stamp says, and what happens without pip or with an old Python."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The Python that made our own environment: what a newcomer calls it with.
PYTHON = Path(sys.base_prefix) / "bin" / f"python3.{sys.version_info.minor}"
SCRIPT = Path("deploy/local/bootstrap.py")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project whose lock is empty, so that only the environment itself is made."""
    (tmp_path / SCRIPT.parent).mkdir(parents=True)
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    for name in ("requirements.txt", "requirements-dev.txt", "requirements-clients.txt"):
        (tmp_path / name).write_text(f"# nothing for {name}\n")
    return tmp_path


def bootstrap(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PYTHON, str(SCRIPT), *arguments],
        cwd=project,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_makes_the_environment_and_becomes_the_command(project: Path) -> None:
    done = bootstrap(project, "requirements.txt", "--", "-c", "import sys; print(sys.prefix)")
    assert done.stdout.strip() == str(project / ".venv")
    assert "installing requirements.txt" in done.stderr


def test_what_contradicts_our_own_packages_has_an_environment_of_its_own(project: Path) -> None:
    program = ("-c", "import sys; print(sys.prefix)")
    done = bootstrap(project, "requirements-clients.txt", "--", *program)
    assert done.stdout.strip() == str(project / ".venv-clients")
    assert not (project / ".venv").exists()
    assert bootstrap(project, "requirements-clients.txt", "--", "-c", "").stderr == ""


def test_the_second_time_installs_nothing(project: Path) -> None:
    bootstrap(project, "requirements-dev.txt", "--", "-c", "")
    for lock in ("requirements-dev.txt", "requirements.txt"):
        assert bootstrap(project, lock, "--", "-c", "").stderr == ""


def test_a_changed_lock_installs_again(project: Path) -> None:
    bootstrap(project, "requirements.txt", "--", "-c", "")
    (project / "requirements.txt").write_text("# nothing else\n")
    assert "installing" in bootstrap(project, "requirements.txt", "--", "-c", "").stderr


def test_an_environment_of_another_python_is_made_anew(project: Path) -> None:
    bootstrap(project, "requirements.txt", "--", "-c", "")
    marker = project / ".venv" / "of the old one"
    marker.touch()
    (project / ".venv" / "installed.json").write_text(json.dumps({"requirements.txt": "3.9:x"}))
    bootstrap(project, "requirements.txt", "--", "-c", "")
    assert not marker.exists()


def test_the_commands_exit_code_is_its_own(project: Path) -> None:
    assert bootstrap(project, "requirements.txt", "--", "-c", "raise SystemExit(7)").returncode == 7


@pytest.mark.parametrize("arguments", [(), ("requirements.txt",), ("other.txt", "--", "-c", "")])
def test_wrong_words_are_told_in_one_line(project: Path, arguments: tuple[str, ...]) -> None:
    done = bootstrap(project, *arguments)
    assert done.returncode == 1
    assert done.stderr.startswith("aivonx: usage:")
    assert len(done.stderr.splitlines()) == 1
