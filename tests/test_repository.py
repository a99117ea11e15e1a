"""Which folder is that of the repository."""

from pathlib import Path

import pytest

from organelle_fusion.repository import RepositoryError, project_root


def test_outside_a_clone_the_error_says_so(tmp_path, monkeypatch):
    """Without `_toc.yml` above, the command names what it looked for."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepositoryError, match=r"expected a folder with _toc\.yml and notebooks"):
        project_root()


def test_the_nearest_folder_above_is_found(monkeypatch):
    root = Path(__file__).parents[1]
    monkeypatch.chdir(root / "src" / "organelle_fusion")
    assert project_root() == root
