"""Without a C compiler there are no load tools, and so nothing to hold against each other."""

import shutil

collect_ignore = [] if shutil.which("cc") else ["test_tools.py"]
