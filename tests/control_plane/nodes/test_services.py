from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from django.db import connection

from control_plane.common import secrets
from control_plane.nodes.errors import NodeExistsError
from control_plane.nodes.models import Node
from control_plane.nodes.selectors import target_of
from control_plane.nodes.services import By, node_create
from control_plane.revisions.selectors import revision_current
from shared.addresses import normalise

if TYPE_CHECKING:
    from collections.abc import Callable

    from pytest_django.fixtures import SettingsWrapper


@pytest.mark.django_db(transaction=True)
def test_of_many_who_register_one_address_at_once_one_succeeds(
    start_node: Callable[..., Any],
) -> None:
    """C15."""
    address = normalise(start_node().url)
    before = revision_current()[1]
    barrier = threading.Barrier(4)
    ends: list[str] = []

    def register(name: str) -> None:
        barrier.wait()
        try:
            node_create({"name": name, "address": address}, By(name))
        except NodeExistsError as error:
            ends.append(error.code)
        else:
            ends.append("made")
        finally:
            connection.close()

    threads = [threading.Thread(target=register, args=(f"n{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ends) == ["already_exists"] * 3 + ["made"]
    assert Node.objects.count() == 1
    assert revision_current()[1] == before + 1


def test_a_token_that_no_key_opens_any_more_counts_as_none(
    make_node: Callable[..., Node], settings: SettingsWrapper
) -> None:
    node = make_node(sealed_token=secrets.seal("abc"))
    assert target_of(node).token == "abc"
    settings.NODE_TOKEN_KEYS = ("YW5vdGhlci1rZXktb2YtMzItYnl0ZXMtZm9yLXRlc3Q=",)
    assert target_of(node).token == ""
