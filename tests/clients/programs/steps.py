"""What the programs for foreign clients share; nothing of ours is installed where they run.

`main` prints one JSON object: by the name of each step, {"value": ...} or {"error": ..., ...}.
"""

import ipaddress
import json
import socket
import sys
from collections.abc import Callable
from typing import Any

_look_up = socket.getaddrinfo


def _look_up_loopback_only(host: Any, *rest: Any, **more: Any) -> Any:
    """Tests talk to nobody but this machine, whatever a client would like to fetch."""
    if not ipaddress.ip_address(str(host)).is_loopback:
        raise OSError(f"{host} is not this machine")
    return _look_up(host, *rest, **more)


def stay_on_this_machine() -> None:
    """Call before the client is imported: some would fetch something already then."""
    socket.getaddrinfo = _look_up_loopback_only


def main(*steps: Callable[[str], Any]) -> None:
    """Do every step with the proxy's address, which is the program's one argument."""
    (address,) = sys.argv[1:]
    outcomes = {step.__name__: _outcome(step, address) for step in steps}
    sys.stdout.write("\n" + json.dumps(outcomes) + "\n")


def _outcome(step: Callable[[str], Any], address: str) -> dict[str, Any]:
    try:
        return {"value": step(address)}
    except Exception as error:  # noqa: BLE001 - what a client raises is what the test wants to see
        kinds = [kind.__name__ for kind in type(error).__mro__]
        return {"error": kinds, "text": str(error)}
