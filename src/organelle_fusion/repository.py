"""The folder of the repository that a command or a chapter works in."""

import os
from pathlib import Path

from organelle_fusion.config import UserError

DOWNLOADS = Path("data", "sources")
"""Where downloads are kept, below the folder of the repository; ignored by git."""

RUNS = Path("data", "runs")
"""Where chapters and commands keep their results, likewise; a folder for each profile."""

COMPILED = RUNS / "compiled"
"""Where JAX keeps what it has compiled."""


class RepositoryError(UserError):
    """No repository is at hand; the message is one line."""


def project_root() -> Path:
    """Nearest folder at or above this one that holds ``_toc.yml`` and ``notebooks``."""
    start = Path.cwd().resolve()
    for folder in (start, *start.parents):
        if (folder / "_toc.yml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise RepositoryError(
        f"{start}: expected a folder with _toc.yml and notebooks/ here or above, found none; "
        "run this inside a clone of the repository"
    )


def downloads_folder() -> Path:
    """`DOWNLOADS` of the repository, or outside of one of the working directory; relative to it."""
    try:
        return Path(os.path.relpath(project_root() / DOWNLOADS))
    except RepositoryError:
        return DOWNLOADS
