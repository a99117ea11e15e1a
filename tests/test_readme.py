"""What README.md and the page on reproducing the book tell people to do exists."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))

both = pytest.mark.parametrize("page", ["README.md", "book/reproducing.md"])
each = pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", "book/reproducing.md", "book/recipes.md"]
)


def blocks_of(text: str) -> list[str]:
    """Blocks of commands."""
    return re.findall(r"^```(?:sh|bash)\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def code_of(page: str) -> list[str]:
    """Commands of a page: its blocks, and what its prose sets as code."""
    text = (ROOT / page).read_text("utf-8")
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks_of(text), *re.findall(r"`([^`]+)`", prose)]


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_set_up_is_two_commands():
    lines = [line.split("#")[0].strip() for line in blocks_of(README)[0].splitlines()]
    assert [line for line in lines if line.startswith("make")] == ["make book", "make test"]


@each
def test_every_make_target_named_exists(page):
    commands = [text for text in code_of(page) if not text.startswith("apt ")]
    named = {word for text in commands for word in re.findall(r"\bmake ([a-z]+)", text)}
    assert named
    assert named <= TARGETS


@both
def test_every_make_variable_named_exists(page):
    named = {word for text in code_of(page) for word in re.findall(r"\b([A-Z]+)=", text)}
    named -= {"PYTHONPATH"}  # Python's own
    assert named
    assert {name for name in named if not re.search(rf"\$\(?{name}\b", MAKEFILE)} == set()


@each
def test_every_subcommand_named_exists(page):
    from typer.main import get_command

    from organelle_fusion.cli import app

    commands = get_command(app).commands
    for text in code_of(page):
        for name in re.findall(r"\borganelle-fusion (?:--\w+ )?([a-z]+)", text):
            assert name in commands


@each
def test_every_file_of_the_repository_named_exists(page):
    """Those in folders that git keeps; `NN` and the like stand for any."""
    paths = {
        path
        for text in code_of(page)
        for path in re.findall(r"(?<![\w./])(?:notebooks|src|data/published|tests)/[\w./-]+", text)
    }
    assert [path for path in sorted(paths) if "NN" not in path and not (ROOT / path).exists()] == []


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_link_leads_somewhere(target):
    if re.match(r"https://", target):
        return
    path, _, anchor = unquote(target).partition("#")
    assert (ROOT / path).exists(), target
    if anchor and not path:
        headings = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
        assert anchor in map(slug, headings)


def test_example_of_the_library_runs_as_it_is_written(tmp_path, monkeypatch, capsys):
    """On a stack whose left is bright; 12.37 µm are 124 of its pixels, and 2 × 3 such patches fit.

    The left column is bright, the middle one in 62 of its 124 pixels, the right one not at all.
    """
    import numpy as np

    from organelle_fusion.volumes import write_ome_tiff

    array = np.full((2, 1, 250, 380), 10, np.uint16)
    array[:, :, :, :186] = 1000
    array += np.arange(380, dtype=np.uint16) % 7
    (tmp_path / "stacks").mkdir()
    path = tmp_path / "stacks/a1.ome.tif"
    names = ["early_endosomes", "mitochondria"]
    write_ome_tiff(path, array, names, pixel_size_um=0.1, z_step_um=None)
    monkeypatch.chdir(tmp_path)
    first, second = re.findall(r"^```python\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert capsys.readouterr().out == "4 of 6 patches kept, (224, 224, 2) uint8\n"
    exec(compile(second, "README.md", "exec"), names)
    assert (names["stack"].shape, names["stack"].channels) == ((2, 5, 400, 400), ("dna", "actin"))


def test_badges_say_what_the_project_says():
    """They are files of the repository, and know nothing of a server."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    badges = re.findall(r"!\[[^\]]*\]\((book/pictures/badge-\w+\.svg)\)", README)
    shown = [
        [node.text for node in ElementTree.parse(ROOT / badge).iter() if (node.text or "").strip()]
        for badge in badges
    ]
    assert shown == [
        ["Python", "3.11 – 3.13"],
        ["code", project["project"]["license"]],
        ["text, figures", "CC BY 4.0"],
        ["style", "Ruff"],
    ]
    assert "Attribution 4.0 International" in (ROOT / "book/LICENSE-text").read_text("utf-8")
    assert "ruff" in project["tool"]
    assert all((ROOT / badge).stat().st_size < 600 for badge in badges)


def test_pictures_have_an_alternative_text():
    assert [alt for alt in re.findall(r"!\[([^\]]*)\]\(", README) if len(alt) < 20] == []


def test_versions_of_python_agree_with_the_makefile_and_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert "3.11 to 3.13" in README
    assert project["requires-python"] == ">=3.11"
    assert "(3, 11) <= sys.version_info < (3, 14)" in MAKEFILE


def test_example_manifest_has_the_columns_that_are_read(tmp_path):
    from organelle_fusion.manifest import read_manifest

    (example,) = re.findall(r"^```csv\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
    path = tmp_path / "stacks.csv"
    path.write_text(example, "utf-8")
    for line in example.splitlines()[1:]:
        image = tmp_path / line.split(",")[1]
        image.parent.mkdir(parents=True, exist_ok=True)
        image.touch()
    manifest = read_manifest(path)
    assert len(manifest) == len(example.splitlines()) - 1
    assert set(manifest["label"]) == {"control", "treated"}
