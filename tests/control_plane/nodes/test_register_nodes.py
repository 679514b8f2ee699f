from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command

from control_plane.accounts.models import AuditRecord
from control_plane.nodes.models import Node

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.django_db

NOBODY = "http://127.0.0.1:1"


def register(*arguments: str) -> list[str]:
    out = io.StringIO()
    call_command("register_nodes", *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_each_node_is_one_line_and_a_second_run_changes_nothing(
    start_node: Callable[..., Any],
) -> None:
    fake = start_node(models=["llama3.2", "qwen3:8b"])
    first = register(fake.url, NOBODY)
    assert first[0].startswith("registered")
    assert "2 models" in first[0]
    assert first[1].startswith("standby")
    before = list(Node.objects.order_by("pk").values())
    assert [line.split()[0] for line in register(fake.url, NOBODY)] == ["known", "known"]
    assert list(Node.objects.order_by("pk").values()) == before
    assert AuditRecord.objects.filter(actor="register_nodes").count() == 2


def test_only_what_answers_is_registered_when_asked_so(start_node: Callable[..., Any]) -> None:
    assert register("--if-answering", NOBODY)[0].startswith("no answer")
    assert not Node.objects.exists()
    assert register("--if-answering", start_node().url)[0].startswith("registered")


def test_a_refused_address_is_named_and_the_others_still_registered(
    start_node: Callable[..., Any],
) -> None:
    with pytest.raises(CommandError, match="1 of 2"):
        register("http://169.254.169.254", start_node().url)
    assert Node.objects.count() == 1


def test_two_addresses_with_one_name_get_two_names(start_node: Callable[..., Any]) -> None:
    fake = start_node()
    Node.objects.create(name=f"127.0.0.1:{fake.port}", address="http://10.0.0.1:11434")
    register(fake.url)
    assert Node.objects.filter(name=f"127.0.0.1:{fake.port}-2").exists()
