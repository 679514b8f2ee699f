"""The whole stack, idle, fits beside a model: under 400 MB, shared pages counted once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from fakes.plane import MODEL

if TYPE_CHECKING:
    from fakes.stack import Stack

LIMIT_MB: Final = 400


def test_valkey_control_plane_worker_and_data_plane_take_less_than_400_mb(stack: Stack) -> None:
    stack.serving_node()
    assert stack.plane.chat(MODEL).status_code == 200
    parts = [stack.valkey, stack.control, stack.worker, stack.plane.process]

    sizes = {part.name: part.memory_bytes() / 1_000_000 for part in parts}

    total = sum(sizes.values())
    shown = ", ".join(f"{name} {size:.0f}" for name, size in sizes.items())
    print(f"idle memory (PSS): {total:.0f} MB ({shown})")
    assert total < LIMIT_MB, shown
