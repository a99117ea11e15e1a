"""What README.md tells people to do exists."""

import re
import tomllib
from pathlib import Path
from urllib.parse import unquote

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")
BLOCKS = re.findall(r"^```(?:sh|bash)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
PROSE = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
CODE = [*BLOCKS, *re.findall(r"`([^`]+)`", PROSE)]
TARGETS = set(re.findall(r"^([a-z]+):", MAKEFILE, flags=re.MULTILINE))


def slug(heading: str) -> str:
    """The anchor that GitHub makes of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_set_up_is_two_commands():
    lines = [line.split("#")[0].strip() for line in BLOCKS[0].splitlines()]
    assert [line for line in lines if line.startswith("make")] == ["make book", "make test"]


def test_every_make_target_named_exists():
    commands = [text for text in CODE if not text.startswith("apt ")]
    named = {word for text in commands for word in re.findall(r"\bmake ([a-z]+)", text)}
    assert named
    assert named <= TARGETS


def test_every_make_variable_named_exists():
    named = {word for text in CODE for word in re.findall(r"\b([A-Z]+)=", text)}
    assert named
    assert {name for name in named if not re.search(rf"\$\(?{name}\b", MAKEFILE)} == set()


def test_every_subcommand_named_exists():
    from typer.main import get_command

    from organelle_fusion.cli import app

    commands = get_command(app).commands
    for text in CODE:
        for name in re.findall(r"\borganelle-fusion ([a-z]+)", text):
            assert name in commands


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)\s]+)\)", README))))
def test_link_leads_somewhere(target):
    if re.match(r"https://", target):
        return
    path, _, anchor = unquote(target).partition("#")
    assert (ROOT / path).exists(), target
    if anchor and not path:
        headings = re.findall(r"^#+ (.+)$", README, flags=re.MULTILINE)
        assert anchor in map(slug, headings)


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
