"""The files that describe the environment and the work agree with each other."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = (ROOT / "requirements.lock").read_text("utf-8")
DIRECT = [
    Requirement(text)
    for text in (*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"])
]


@pytest.fixture(scope="module")
def locked() -> dict[str, list[Version]]:
    """Versions in the lock by name; a package may have one per Python version."""
    versions: dict[str, list[Version]] = {}
    for name, version in re.findall(r"^([A-Za-z0-9_.-]+)==(\S+)", LOCK, flags=re.MULTILINE):
        versions.setdefault(canonicalize_name(name), []).append(Version(version))
    return versions


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda requirement: requirement.name)
def test_direct_dependency_is_locked_to_a_version_it_allows(requirement, locked):
    versions = locked.get(canonicalize_name(requirement.name), [])
    assert versions, f"{requirement.name}: not in requirements.lock; run `make lock`"
    assert all(version in requirement.specifier for version in versions)


@pytest.mark.parametrize("lock", ["requirements.lock", "benchmarks/peers.lock"])
def test_every_locked_package_is_pinned_by_version_and_hash(lock):
    """Each entry is one version and its files' hashes: no range, address, folder or repository."""
    text = (ROOT / lock).read_text("utf-8")
    lines = re.sub(r"\s*\\\n\s*", " ", text).splitlines()  # an entry and its hashes in one
    entries = [line for line in lines if line.strip() and not line.lstrip().startswith("#")]
    assert len(entries) > 10
    pattern = r"[A-Za-z0-9][\w.-]*==[\w.!+]+( ; [^@]+?)?( --hash=sha256:[0-9a-f]{64})+"
    assert [entry for entry in entries if not re.fullmatch(pattern, entry)] == []
    assert re.findall(r"\w+://\S+|--(?:extra-)?index-url|--find-links", text) == []


def test_every_import_of_package_and_tests_is_declared():
    """A module that is imported but only comes along with another package would vanish one day."""
    distributions = {
        "bs4": "beautifulsoup4",
        "IPython": "ipykernel",
        "skimage": "scikit-image",
        "sklearn": "scikit-learn",
        "umap": "umap-learn",
        "yaml": "pyyaml",
    }
    declared = {canonicalize_name(requirement.name) for requirement in DIRECT}
    files = [
        path for folder in ("src", "tests", "notebooks") for path in ROOT.glob(f"{folder}/**/*.py")
    ]
    pattern = re.compile(r"^\s*(?:from|import) ([A-Za-z]\w*)", flags=re.MULTILINE)
    undeclared = {
        f"{path.name}: {name}"
        for path in files
        for name in pattern.findall(path.read_text("utf-8"))
        if name not in sys.stdlib_module_names
        and name not in ("organelle_fusion", "benchmarks", "conftest")
        and canonicalize_name(distributions.get(name, name)) not in declared
    }
    assert undeclared == set()


def test_conda_environment_parses_and_installs_this_project():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    assert set(environment) == {"name", "channels", "dependencies"}
    *specs, pip = environment["dependencies"]
    assert pip == {"pip": ["-e ."]}
    assert "pip" in specs
    # Of conda's syntax these specs use only what it shares with pip's: a name and ranges.
    python = next(Requirement(spec) for spec in specs if spec.startswith("python"))
    wanted = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 20)]
    assert [minor for minor in minors if minor in python.specifier] == ["3.11", "3.12", "3.13"]
    assert all(minor in wanted for minor in minors if minor in python.specifier)


def test_citation_names_version_and_paper():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert str(citation["version"]) == PROJECT["version"]
    (paper,) = citation["references"]
    assert paper["doi"] == "10.1007/s13755-025-00425-8"
    families = [author["family-names"] for author in paper["authors"]]
    assert families == ["Yee", "Bouyea", "Goldwag", "Lamar", "Intes", "Kruger", "Barroso"]


def test_paper_is_the_same_in_citation_bibliography_and_readme():
    doi = "10.1007/s13755-025-00425-8"
    for name in ("CITATION.cff", "book/references.bib", "README.md"):
        assert doi in (ROOT / name).read_text("utf-8"), name


def test_workflows_pin_actions_by_commit_and_ask_for_no_right_at_the_top():
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text("utf-8")
        uses = re.findall(r"uses: *(.+)", text)
        assert uses
        for action in uses:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {}, path.name
        for name, job in workflow["jobs"].items():
            assert "permissions" in job, f"{path.name}: {name}"
            assert "timeout-minutes" in job, f"{path.name}: {name}"


def test_links_to_elsewhere_are_checked_by_a_job_of_their_own_and_by_no_other():
    """On a schedule: a page that somebody else has moved stops no change of ours."""
    workflows = {
        path.stem: yaml.safe_load(path.read_text("utf-8"))
        for path in (ROOT / ".github" / "workflows").glob("*.yml")
    }
    checking = {name for name, content in workflows.items() if "linkcheck" in str(content)}
    assert checking == {"links"}
    assert set(workflows["links"][True]) == {"schedule", "workflow_dispatch"}  # YAML's `on`
    assert "linkcheck" not in (ROOT / ".ci" / "run").read_text("utf-8")


def test_no_tracked_file_names_a_machine():
    """Paths of one machine say nothing to a reader, and the lock holds hashes, no addresses."""
    assert "://" not in (ROOT / "requirements.lock").read_text("utf-8")
    if not (ROOT / ".git").exists():
        pytest.skip("not a clone: no list of tracked files")
    pattern = r"/(home|Users|root|work)/[a-z]"
    result = subprocess.run(
        ["git", "grep", "-nIE", pattern, "--", ".", ":!tests/test_environment.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode in (0, 1), result.stderr
    assert result.stdout == ""
