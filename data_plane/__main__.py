"""`python -m data_plane`: read the settings, and serve: by itself, or by workers that it keeps."""

from __future__ import annotations

import os
import sys

from data_plane import native
from shared.environ import SettingError

EXIT_BAD_SETTING = 78
"""EX_CONFIG of sysexits.h: starting again will not help."""


def main() -> int:
    """Run; the exit status."""
    try:
        native.use(os.environ)
        # Only now, so that what was compiled is imported, if anything was.
        from data_plane import settings as reading

        settings = reading.load(os.environ)
    except SettingError as error:
        sys.stderr.write(f"data_plane: {error}\n")
        return EXIT_BAD_SETTING
    from data_plane.host.descriptors import raise_limit
    from data_plane.serving import serve
    from data_plane.workers.parent import keep_workers

    raise_limit()
    return serve(settings) if settings.workers == 1 else keep_workers(settings)


if __name__ == "__main__":
    sys.exit(main())
