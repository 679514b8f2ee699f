"""Run mypyc and the C compiler over the modules of `data_plane.native`; for deploy/local/native.py.

A process of its own: both print as they please, and end the process when they fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution

from data_plane.native import MODULES, place

OPTIONS = ("--config-file", "pyproject.toml")


def main(work: Path) -> None:
    """Leave the compiled modules in `work/lib`."""
    # Python's own types are read from the cache the second time, which is half of the work.
    cache = ("--cache-dir", str(place().parent / "cache"))
    extensions = mypycify(
        [*OPTIONS, *cache, *MODULES],
        opt_level="2",
        debug_level="0",
        target_dir=str(work / "c"),
        group_name="aivonx",
    )
    distribution = Distribution({"name": "aivonx-native", "ext_modules": extensions})
    command = distribution.get_command_obj("build_ext")
    command.build_lib, command.build_temp = str(work / "lib"), str(work / "objects")
    command.ensure_finalized()
    command.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
