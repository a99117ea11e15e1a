"""The text fits 100 columns and says what the JSON says."""

import json

import numpy as np
import pandas as pd
import pytest

from organelle_fusion.check_report import (
    as_json,
    as_text,
    errors_text,
    template_text,
    text_width,
    verdict,
)
from organelle_fusion.checking import COLUMNS, Problem, Report
from organelle_fusion.confounding import Finding
from organelle_fusion.manifest_template import Template

NAMES = ("early_endosomes", "mitochondria", "recycling_endosomes")


def report(tmp_path, problems=(), findings=()):
    size = (12, 416, 416, 0.10602, 0.5, "uint16")
    long = "a very long name of an image that no table of one hundred columns can hold in full"
    rows = [
        (long, "control", "slide 1", "/a", ".tif", None, (*NAMES, "nucleus"), *size, True),
        ("b", "treated", "b", "/b", ".tif", "2024-03-05", NAMES[:2], *size, True),
        ("c", "", "c", "/c", ".tif", None, (), *[np.nan] * 6, False),
    ]
    images = pd.DataFrame(rows, columns=list(COLUMNS))
    channels = pd.DataFrame(
        {
            "image": [long, long, "b"],
            "channel": ["x", "y", "x"],
            "saturated": [0.0005, 0.123, 0.0],
            "foreground": [0.1, 0.2, np.nan],
        }
    )
    return Report(tmp_path / "m.csv", "quick", images, channels, list(problems), list(findings))


PROBLEMS = [
    Problem("error", "c", "expected a whole file, found a damaged one", "copy it anew"),
    *(Problem("warning", f"i{n}", "is odd " * 30, "mend it") for n in range(6)),
]


def test_the_text_has_a_table_problems_and_a_verdict(tmp_path):
    lines = as_text(report(tmp_path, PROBLEMS), NAMES).splitlines()
    assert max(map(len, lines)) <= 100
    assert lines[0].split() == [
        *("image", "label", "group", "channels"),
        *("size", "µm", "type", "saturated"),
    ]
    first, second, third = (line.split() for line in lines[2:5])
    assert first[-8:] == ["slide", "1", "3/3+1", "12×416×416", "0.106,", "0.5", "uint16", "12.3%"]
    assert lines[2].startswith("a very long n…an hold in full  control")
    assert second == ["b", "treated", "=", "2/3", "12×416×416", "0.106,", "0.5", "uint16", "0"]
    assert third == ["c", "–", "=", "–", "–", "–", "–", "–"]
    text = "\n".join(lines)
    assert "error    c: expected a whole file, found a damaged one\n         → copy it anew" in text
    # alike but for the image: said once
    assert text.count("warning  i0, i1, i2, i3 and 2 more: is odd") == 1
    assert text.count("mend it") == 1
    assert lines[-1] == (
        "m.csv, 3 images of 2 classes, profile quick: 1 error, 6 warnings; "
        "mend the errors, then check again"
    )


def test_quietly_errors_and_verdict_are_shown(tmp_path):
    assert errors_text(report(tmp_path, PROBLEMS)).splitlines() == [
        "error    c: expected a whole file, found a damaged one",
        "         → copy it anew",
        "",
        "m.csv, 3 images of 2 classes, profile quick: 1 error, 6 warnings; "
        "mend the errors, then check again",
    ]
    assert errors_text(report(tmp_path, PROBLEMS[1:])).startswith("m.csv, 3 images")


@pytest.mark.parametrize("width", [76, 90])
def test_a_narrower_terminal(tmp_path, width, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    text = as_text(report(tmp_path, PROBLEMS), NAMES, text_width())
    assert max(map(len, text.splitlines())) <= width
    monkeypatch.setenv("COLUMNS", "200")
    assert text_width() == 100


def test_the_verdict_of_a_sound_set(tmp_path):
    assert verdict(report(tmp_path)) == (
        "m.csv, 3 images of 2 classes, profile quick: no errors, no warnings; can be analysed"
    )
    assert "1 warning; can be" in verdict(report(tmp_path, PROBLEMS[1:2]))


def test_json_is_the_same_content(tmp_path):
    table = pd.DataFrame({"value": ["x", "y"], "label": ["a", "b"], "images": [3, 3]})
    finding = Finding("date", ("folder",), table, 6, 6, 3, 0.1, ("a", "b"))
    document = json.loads(as_json(report(tmp_path, PROBLEMS, [finding])))
    assert (document["ok"], document["errors"], document["warnings"]) == (False, 1, 6)
    assert document["problems"][0] == {
        "severity": "error",
        "where": "c",
        "what": "expected a whole file, found a damaged one",
        "remedy": "copy it anew",
    }
    assert document["images"][1]["pixel_size_um"] == 0.10602
    assert document["images"][1]["channels"] == ["early_endosomes", "mitochondria"]
    assert document["images"][2]["z"] is None
    assert document["channels"][2]["foreground"] is None
    (found,) = document["confounding"]
    assert (found["attribute"], found["also"], found["chance"]) == ("date", ["folder"], 0.1)
    assert found["table"][0] == {"value": "x", "label": "a", "images": 3}
    assert document["groups"] == (
        "no: group slide 1 alone holds control, so that leaving it out leaves classes out"
    )


@pytest.mark.parametrize(
    ("skipped", "notes", "expected"),
    [
        ({}, [], ["m x.csv: 2 images of 1 class", "Next: organelle-fusion check 'm x.csv'"]),
        (
            {"files .txt": 2, "hidden files": 1},
            ["label: the class of b"],
            [
                "m x.csv: 2 images of 1 class",
                "Passed over: files .txt (2), hidden files (1)",
                "To be filled in or mended:",
                "- label: the class of b",
                "Next: organelle-fusion check 'm x.csv'",
            ],
        ),
    ],
)
def test_what_a_template_needs(skipped, notes, expected):
    manifest = pd.DataFrame({"image": ["a", "b"], "label": ["x", ""]})
    assert template_text(Template(manifest, skipped, notes), "m x.csv").splitlines() == expected
