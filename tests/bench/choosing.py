"""How well nodes are chosen.

choosing.py sockets [OPTIONS OF routing/compare.py]
choosing.py simulator [OPTIONS OF routing/trials.py]
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(1, str(Path(__file__).resolve().parents[1]))  # where the fakes are

from routing import compare, trials

WAYS = {"sockets": compare.main, "simulator": trials.main}


def main() -> int:
    """Do what the first word says with the others."""
    way = sys.argv.pop(1) if len(sys.argv) > 1 else ""
    if way not in WAYS:
        sys.stderr.write(__doc__ or "")
        return 2
    return WAYS[way]()


if __name__ == "__main__":
    sys.exit(main())
