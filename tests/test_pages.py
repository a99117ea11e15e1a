"""What chapters call: where their files are, and how a page shows a result."""

import re

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import pages
from organelle_fusion.config import load_profile
from organelle_fusion.manifest import ManifestError


@pytest.fixture
def project(tmp_path, monkeypatch):
    """An empty repository, as the current folder."""
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_runs_do_not_share_folders(project):
    """Phantom and own stacks, two profiles, and two tables of one name keep their results apart."""
    smoke, quick = load_profile("smoke"), load_profile("quick")
    folders = {
        pages.open_run(smoke).folder.as_posix(),
        pages.open_run(quick).folder.as_posix(),
        pages.open_run(quick, "cells.csv").folder.as_posix(),
    }
    assert folders == {
        "data/runs/smoke/phantom",
        "data/runs/quick/phantom",
        "data/runs/quick/own-cells",
    }
    elsewhere = {
        pages.open_run(quick, place).folder.as_posix()
        for place in ("mine/cells.csv", "theirs/cells.csv", str(project.parent / "cells.csv"))
    }
    assert len(elsewhere) == 3
    assert all(re.fullmatch(r"data/runs/quick/own-cells-[0-9a-f]{8}", name) for name in elsewhere)
    # A table is the same however its path is written.
    assert pages.open_run(quick, str(project / "mine" / "cells.csv")).folder.as_posix() in elsewhere
    assert pages.open_run(quick, "./cells.csv").folder == pages.open_run(quick, "cells.csv").folder


def test_missing_result_names_the_chapter_to_run(project):
    """A chapter that finds no file of its predecessor says which one to run."""
    run = pages.open_run(load_profile("smoke"))
    with pytest.raises(pages.PageError, match="run `make chapter N=01` first") as caught:
        run.read()
    assert str(caught.value).startswith("data/runs/smoke/phantom/images/manifest.csv: expected")
    assert str(caught.value).endswith("with the same PROFILE and MANIFEST")


def test_missing_result_names_the_profiles_that_have_it(project, monkeypatch):
    """Of the same data alone, and from below the folder of the repository too."""
    for place in ("smoke/own-cells", "paper/own-cells", "mine/phantom"):
        file = project / "data" / "runs" / place / "folds" / "cv5.csv"
        file.parent.mkdir(parents=True)
        file.touch()
    for folder in (".", "notebooks"):
        monkeypatch.chdir(project / folder)
        run = pages.open_run(load_profile("quick"), "cells.csv")
        with pytest.raises(pages.PageError) as caught:
            run.require(run.folder / "folds" / "cv5.csv", "06")
        message = str(caught.value)
        assert message.startswith("data/runs/quick/own-cells/folds/cv5.csv: expected a result")
        assert "; found for profiles paper, smoke: name it by PROFILE, by" in message
        assert "mine" not in message


def test_own_table_that_is_missing_is_no_result_of_a_chapter(project):
    """Its whole path is named, and no chapter."""
    with pytest.raises(ManifestError) as caught:
        pages.open_run(load_profile("smoke"), "mine/cells.csv").read()
    assert str(caught.value).startswith(f"{project / 'mine' / 'cells.csv'}: expected")
    assert "chapter" not in str(caught.value)


def test_table_escapes_what_labels_hold():
    """A label with a pipe, HTML and Markdown marks shows as it is written; nothing is a dash."""
    frame = pd.DataFrame({"the_label": ["a|b <b>*x*", "", "one\ntwo  "], "n": [3, np.nan, 0.5]})
    text = pages.show_table(frame, "Counts", "tab-x").data
    assert text.splitlines() == [
        ":::{table} Counts",
        ":name: tab-x",
        "",
        "| the label | n |",
        "| :--- | ---: |",
        r"| a\|b &lt;b&gt;\*x\* | 3.0 |",
        "| – | – |",
        "| one<br>two | 0.5 |",
        ":::",
    ]


def test_lines_of_a_table_do_not_break_within_an_interval():
    """Nor after "<"; between words, and between a number and its interval, they may."""
    frame = pd.DataFrame({"score": ["+0.05 [-0.01, +0.11]"], "p": ["< 0.001"], "what": ["a < b"]})
    row = pages.show_table(frame, "Counts", "tab-x").data.splitlines()[-2]
    assert row == "| +0.05 \\[-0.01,\u00a0+0.11\\] | &lt;\u00a00.001 | a &lt; b |"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.02, 0.2, "lies above 0"),
        (-0.2, -0.02, "lies below 0"),
        (-0.02, 0.2, "cannot tell"),
    ],
)
def test_difference_sentence_says_what_the_interval_allows(low, high, verdict):
    """The words follow the interval, not the point estimate."""
    sentence = pages.difference_sentence("a minus B", {"value": 0.1, "low": low, "high": high})
    assert sentence.startswith("A minus B: +0.10 in balanced accuracy")
    assert verdict in sentence


def test_difference_sentence_never_hides_the_side_of_an_end():
    """-0.004 would be -0.00 with two digits, as if 0 were the end."""
    found = {"value": 0.055, "low": -0.0042, "high": 0.117}
    sentence = pages.difference_sentence("a minus b", found)
    assert "+0.055 in balanced accuracy (95 % interval -0.004 to +0.117)" in sentence


def test_difference_sentence_knows_no_negative_zero():
    """Minus nothing is nothing."""
    found = {"value": -0.003, "low": -0.17, "high": 0.19}
    assert "A: +0.00 in balanced accuracy" in pages.difference_sentence("a", found)


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (-0.05, 0.04, "the sign cannot be told; a loss of 0.10 or more is excluded."),
        (-0.11, 0.04, "the sign cannot be told; a loss of 0.10 or more is not excluded."),
        (0.01, 0.04, "the interval lies above 0; a loss of 0.10 or more is excluded."),
        (-0.08, -0.04, "the interval lies below 0; a loss of 0.10 or more is excluded."),
        (-0.18, -0.04, "the interval lies below 0; a loss of 0.10 or more is not excluded."),
        (-0.18, -0.14, "+0.02 (95 % interval -0.18 to -0.14); the loss is larger than 0.10."),
    ],
)
def test_difference_sentence_answers_a_question_about_a_margin(low, high, verdict):
    """A margin that is met is never called undecided, and one that is not never excluded."""
    found = {"value": 0.02, "low": low, "high": high}
    sentence = pages.difference_sentence("a", found, margin=-0.10)
    assert sentence.replace(" in balanced accuracy", "").endswith(verdict)
    assert "these data cannot tell" not in sentence


def test_difference_sentence_never_hides_the_side_of_a_margin():
    """-0.0964 would be -0.10 with two digits, as if it were the margin."""
    found = {"value": -0.02, "low": -0.0964, "high": 0.04}
    sentence = pages.difference_sentence("a", found, margin=-0.10)
    assert "interval -0.096 to +0.040" in sentence


def test_score_in_words_has_an_interval_or_says_that_it_has_none():
    assert pages.score_words({"value": 0.9, "low": 0.84, "high": 0.971}) == (
        "0.90 (95 % interval 0.84 to 0.97)"
    )
    none = {"value": 0.9, "low": float("nan"), "high": float("nan")}
    assert pages.score_words(none) == "0.90 (without an interval)"


@pytest.mark.parametrize("end", [float("nan"), float("inf")])
@pytest.mark.parametrize("margin", [0.0, -0.10])
def test_difference_sentence_without_an_interval_decides_nothing(end, margin):
    """Nothing is said of a sign or a margin that no interval has shown."""
    found = {"value": 0.1, "low": -end, "high": end}
    assert pages.difference_sentence("a", found, margin=margin) == (
        "A: +0.10 in balanced accuracy, without an interval, since none could be computed; "
        "nothing is decided."
    )


@pytest.mark.parametrize(
    ("images", "groups", "labels", "said"),
    [
        ("abcd", "abcd", "xxyy", "A class has 2 images. Resampling n images of a class"),
        ("abcde", "abcde", "xxyyy", "Classes have 2 to 3 images. Resampling n images of a class"),
        ("abcdef", "aacdee", "xxxyyy", "A class has 2 groups. Resampling n groups of a class"),
        ("aabb", "stuv", "xxyy", "A class has 2 groups."),
        ("abcd", "ssuu", "xyxy", "There are 2 groups, some of more than one class."),
    ],
)
def test_class_sizes_are_counted(images, groups, labels, said):
    """Images where they are what is drawn, and groups otherwise; twice the rows change nothing."""
    table = pd.DataFrame({"image": list(images), "group": list(groups), "label": list(labels)})
    sentence = pages.class_size_sentence(pd.concat([table, table]))
    assert sentence.startswith(said)
    assert sentence.endswith("here up to 50.0%, so that intervals are too narrow.")


def test_published_values_are_found_in_the_repository(project):
    """The table is read by its name, wherever in the repository the chapter runs."""
    from organelle_fusion.published import COLUMNS, MODELS

    lines = [f"{model},,,{0.5 if model == 'late' else ''}," for model in MODELS]
    path = project / "data/published/table1.csv"
    path.parent.mkdir(parents=True)
    path.write_text("\n".join([",".join(COLUMNS), *lines]) + "\n")
    assert pages.published_table("table1").to_numpy().tolist() == [["late", "mcc", 0.5]]


def test_published_sentence_says_what_can_be_compared():
    """Whose images either score is of; without values, where they would be filled in."""
    none = pd.DataFrame(columns=["model", "metric", "value"])
    some = pd.DataFrame([("late", "mcc", 0.5)], columns=none.columns)
    for published in (none, some):
        sentence = pages.published_sentence(published, "table2", "phantom")
        for words in ("`data/published/table2.csv`", "six cell lines", "(phantom)"):
            assert words in sentence
        assert ("not at hand" in sentence) == published.empty
        assert ("only scores of the same images" in sentence) != published.empty
