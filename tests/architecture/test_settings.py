"""Every setting that the code reads stands in env.example, and the other way round."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"(?:AIVONX_[A-Z_]+|REDIS_URL|DATABASE_URL)")
PACKAGES = ("shared", "data_plane", "control_plane", "deploy")
READERS = {"text", "integer", "number", "boolean", "choice", "items", "bind", "_secret"}


def settings_read() -> set[str]:
    """The names given to the readers of shared/environ.py, wherever they are called."""
    found = set()
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call):
                    function = node.func
                    called = getattr(function, "attr", getattr(function, "id", ""))
                    if called in READERS:
                        found |= {
                            argument.value
                            for argument in node.args
                            if isinstance(argument, ast.Constant)
                            and isinstance(argument.value, str)
                            and NAME.fullmatch(argument.value)
                        }
    return found


def settings_documented() -> set[str]:
    example = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8")
    return set(re.findall(rf"^#?({NAME.pattern})=", example, re.MULTILINE))


def test_the_readers_are_found() -> None:
    assert {"AIVONX_PROXY_BIND", "AIVONX_SECRET_KEY", "DATABASE_URL"} <= settings_read()


def test_env_example_has_every_setting_that_is_read() -> None:
    assert settings_read() - settings_documented() == set()


def test_env_example_has_no_setting_that_nobody_reads() -> None:
    indirect = {name for name in settings_documented() if name in _all_sources()}
    assert settings_documented() - settings_read() - indirect == set()


def _all_sources() -> str:
    return "".join(
        path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
    )


def test_the_readme_names_only_settings_that_exist() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert set(NAME.findall(readme)) <= settings_documented()
