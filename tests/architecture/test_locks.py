"""The locks: hashed, without an index, in step with each other, above the floors."""

import json
import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOCKS = (
    "requirements.txt",
    "requirements-data-plane.txt",
    "requirements-dev.txt",
    "requirements-clients.txt",
)
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)

# Below these, a published fault reaches us.
FLOORS = {
    "aiohttp": (3, 14, 5),
    "django": (5, 2, 19),
    "djangorestframework": (3, 15, 2),
    "djangorestframework-simplejwt": (5, 5, 1),
    "redis": (4, 5, 5),
    "kombu": (5, 4, 0),
    "pyjwt": (2, 12, 0),
    "cryptography": (50, 0, 0),
}


def lock(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_names_no_index_and_no_place(name: str) -> None:
    assert not re.search(r"://|--index|--extra-index|--find-links|^/", lock(name), re.MULTILINE)


@pytest.mark.parametrize("name", LOCKS)
def test_every_package_has_its_hashes(name: str) -> None:
    """S03."""
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock(name)):
        if PIN.match(block):
            assert "--hash=sha256:" in block, block.splitlines()[0]


def test_the_javascript_lock_has_hashes_and_names_no_place() -> None:
    text = lock("tests/clients/javascript/package-lock.json")
    assert "://" not in text
    packages = json.loads(text)["packages"]
    assert packages.keys() > {""}
    for name, package in packages.items():
        assert not name or package["integrity"].startswith("sha512-"), name


def test_the_locks_agree_with_each_other() -> None:
    runtime = dict(PIN.findall(lock("requirements.txt")))
    for name in LOCKS[1:]:
        other = dict(PIN.findall(lock(name)))
        shared_names = runtime.keys() & other.keys()
        assert {key: runtime[key] for key in shared_names} == {
            key: other[key] for key in shared_names
        }


def test_a_data_plane_installs_no_django() -> None:
    names = {name.lower() for name, _ in PIN.findall(lock("requirements-data-plane.txt"))}
    assert not names & {"django", "celery", "psycopg", "djangorestframework"}


@pytest.mark.parametrize("package", sorted(FLOORS))
def test_no_package_is_older_than_its_known_faults(package: str) -> None:
    """S02."""
    installed = tuple(int(part) for part in re.findall(r"\d+", version(package))[:3])
    assert installed >= FLOORS[package]
