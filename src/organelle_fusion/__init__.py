"""Organelle-based classification of cancer cells by data fusion: an executable reproduction.

Importing the package is cheap: Keras is imported by the functions that need it.
"""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("organelle-fusion")
except PackageNotFoundError:  # not installed: the repository's src is on the path
    import tomllib
    from pathlib import Path

    _project = Path(__file__).parents[2] / "pyproject.toml"
    __version__ = tomllib.loads(_project.read_text("utf-8"))["project"]["version"]
