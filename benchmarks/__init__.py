"""Benchmarks of this package; none of the book's own chapters depends on them.

The peers lie in a folder of their own, which `make bench` fills. It comes last on the path, so that
whatever the project has itself is taken in the project's version.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

sys.path.append(str(ROOT / ".venv" / "peers"))
