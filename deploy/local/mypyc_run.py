"""Run mypyc and the C compiler over the modules of `data_plane.native`; for deploy/local/native.py.

A process of its own: both print as they please, and end the process when they fail.
"""

from __future__ import annotations

import sys
from pathlib import Path

from mypyc.build import mypycify
from setuptools import Distribution

from data_plane.native import MODULES


def main(work: Path, cache: str) -> None:
    """Compile the sources in the current directory, `work/lib`, in place."""
    extensions = mypycify(
        # Python's own types are read from the cache the second time, which is half of the work.
        ["--config-file", str(work / "pyproject.toml"), "--cache-dir", cache, *MODULES],
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
    main(Path(sys.argv[1]), sys.argv[2])
