"""Verdicts by rule, and findings on their way from chapters to the scorecard."""

import numpy as np
import pandas as pd
import pytest

from organelle_fusion import scorecard
from organelle_fusion.scorecard import CANNOT_TELL, PROPERTY, REFUTED, SUPPORTED

ABOVE = {"value": 0.2, "low": 0.1, "high": 0.3}
BELOW = {"value": -0.2, "low": -0.3, "high": -0.1}
ACROSS = {"value": 0.1, "low": -0.1, "high": 0.3}
NONE = {"value": 0.1, "low": np.nan, "high": np.nan}  # nothing varies between resamples


def finding(claim="C1", figure=ABOVE, data="phantom", measure="a minus b", **options):
    return scorecard.finding(claim, measure, figure, data=data, **{"reference": 0, **options})


def test_the_thirteen_claims_are_complete():
    claims = scorecard.read_claims()
    assert list(claims) == [f"C{number}" for number in range(1, 14)]
    for about in claims.values():
        assert set(about) == {"claim", "section", "concerns", "rule"}
        assert about["concerns"] in scorecard.CONCERNS


@pytest.mark.parametrize(
    ("figure", "sense", "reference", "expected"),
    [
        (ABOVE, "above", 0, "holds"),
        (BELOW, "above", 0, "fails"),
        (ACROSS, "above", 0, "open"),
        (ABOVE, "below", 0, "fails"),
        (BELOW, "below", 0, "holds"),
        (ABOVE, "above", 0.1, "open"),  # the interval touches the reference
        ({"value": 0.2, "low": np.nan, "high": np.nan}, "above", 0, "open"),  # no interval
        (0.02, "below", 0.03, "holds"),
        (0.07, "below", 0.03, "fails"),
        ({"value": 0.03, "low": 0.0, "high": 0.0}, "above", 0, "open"),  # no exact number
        (0.0, "above", 0, "fails"),  # an exact number that only equals the reference
        (ABOVE, "apart", 0, "holds"),
        (BELOW, "apart", 0, "holds"),
        (ACROSS, "apart", 0, "open"),
        (-0.1, "apart", 0, "holds"),
        (0.0, "apart", 0, "fails"),
        (NONE, "above", 0, "open"),
        (NONE, "below", 0, "open"),
        (NONE, "apart", 0, "open"),
        (np.nan, "above", 0, "open"),
    ],
)
def test_outcome_follows_the_interval(figure, sense, reference, expected):
    row = finding(figure=figure, sense=sense, reference=reference)
    assert scorecard.outcome(row) == expected


@pytest.mark.parametrize(
    ("concerns", "data", "outcomes", "expected"),
    [
        ("method", "phantom", ["holds", "holds"], PROPERTY),
        ("method", "real cells (cell-lines-9)", ["holds"], SUPPORTED),
        ("method", "phantom", ["holds", "open"], CANNOT_TELL),
        ("method", "phantom", ["open", "fails"], REFUTED),
        ("method", "phantom", [], CANNOT_TELL),
        ("cell lines", "phantom", ["holds"], CANNOT_TELL),
        ("cell lines", "phantom", ["fails"], CANNOT_TELL),
        ("cell lines", "real cells (cell-lines-9)", ["holds"], CANNOT_TELL),
        ("cell lines", "own stacks (mine.csv)", ["holds"], CANNOT_TELL),
        ("method", "own stacks (mine.csv)", ["fails"], REFUTED),
        ("computation", "networks", ["holds", "holds"], SUPPORTED),
        ("computation", "networks", ["fails"], REFUTED),
    ],
)
def test_verdict_follows_the_rule(concerns, data, outcomes, expected):
    """A phantom never judges cell lines, and never says "supported"."""
    assert scorecard.verdict(concerns, data, outcomes) == expected


def test_only_stacks_of_the_six_lines_decide_claims_on_them():
    """Their labels say so; five of them, or a sixth of another name, do not."""
    claims = {"C3": scorecard.read_claims()["C3"]}
    findings = pd.DataFrame([finding("C3", data="own stacks (mine.csv)"), finding("C3")])
    lines = sorted(scorecard.CELL_LINES)
    for labels, expected in (
        (lines * 2, SUPPORTED),
        (lines[1:], CANNOT_TELL),
        ([*lines[1:], "HeLa"], CANNOT_TELL),
    ):
        card = scorecard.scorecard(claims, findings, labels=labels)
        assert card["verdict"].tolist() == [expected, CANNOT_TELL]  # the phantom never does


def test_an_end_near_zero_keeps_the_digit_that_says_its_side():
    figure = {"value": 0.0412, "low": 0.0028, "high": 0.08}
    card = scorecard.scorecard(
        {"C1": scorecard.read_claims()["C1"]}, pd.DataFrame([finding(figure=figure)])
    )
    assert card["figures"].tolist() == ["a minus b: 0.041 [0.003, 0.080]"]


def test_a_measure_without_an_interval_decides_nothing_and_says_so(tmp_path):
    """It is no exact number, and stays apart from one in the file as well."""
    scorecard.write_findings(tmp_path, "06", [finding(figure=NONE), finding(figure=0.1)])
    found = scorecard.read_findings([tmp_path])
    assert scorecard.deciding(found, ["C1"])["outcome"].tolist() == ["open", "holds"]
    card = scorecard.scorecard({"C1": scorecard.read_claims()["C1"]}, found)
    assert card["figures"].item() == "a minus b: 0.10 [no interval]\na minus b: 0.10"
    assert card["verdict"].item() == CANNOT_TELL


def test_verdict_refuses_an_unknown_kind_of_claim():
    with pytest.raises(scorecard.ScorecardError, match="expected one of method, cell lines"):
        scorecard.verdict("biology", "phantom", ["holds"])


def test_scorecard_has_a_row_per_claim_and_data():
    """Findings of one claim on two data sets are judged apart; a claim without one stays open."""
    claims = {name: scorecard.read_claims()[name] for name in ("C1", "C4", "C11")}
    findings = pd.DataFrame(
        [
            finding(measure="one"),
            finding(figure=ACROSS, data="real cells"),
            finding(measure="two"),
            finding("C11", 3.25, measure="seconds", reference=np.nan),
        ]
    )
    card = scorecard.scorecard(claims, findings)
    assert card[["claim", "data", "verdict"]].to_numpy().tolist() == [
        ["C1", "phantom", PROPERTY],
        ["C1", "real cells", CANNOT_TELL],
        ["C4", "none", CANNOT_TELL],
        ["C11", "phantom", CANNOT_TELL],
    ]
    assert card["figures"].tolist() == [
        "one: 0.20 [0.10, 0.30]\ntwo: 0.20 [0.10, 0.30]",
        "a minus b: 0.10 [-0.10, 0.30]",
        "not computed",
        "seconds: 3.25",
    ]


def test_deciding_keeps_what_has_a_reference_in_the_order_of_the_claims():
    findings = pd.DataFrame(
        [
            finding("C13", measure="late"),
            finding("C2", BELOW, measure="first"),
            finding("C2", measure="shown", reference=np.nan),
        ]
    )
    rows = scorecard.deciding(findings, scorecard.read_claims())
    assert rows["measure"].tolist() == ["first", "late"]
    assert rows["outcome"].tolist() == ["fails", "holds"]


def test_findings_survive_the_file(tmp_path):
    """Written by two chapters of two runs and read in order, NaN included."""
    one, two = tmp_path / "one", tmp_path / "two"
    scorecard.write_findings(one, "06", [finding(), finding("C2", 0.5, reference=np.nan)])
    scorecard.write_findings(one, "03", [finding("C13")])
    scorecard.write_findings(two, "09", [finding(data="real cells")])
    found = scorecard.read_findings([one, two])
    assert found["claim"].tolist() == ["C13", "C1", "C2", "C1"]
    assert found.loc[1, ["value", "low", "high", "reference"]].tolist() == [0.2, 0.1, 0.3, 0]
    assert found.loc[2, ["value", "low", "high"]].tolist() == [0.5] * 3
    assert np.isnan(found.loc[2, "reference"])
    assert found["data"].tolist() == ["phantom"] * 3 + ["real cells"]


def test_findings_that_cannot_be_judged_are_refused(tmp_path):
    with pytest.raises(scorecard.ScorecardError, match="expected a file of a chapter, found none"):
        scorecard.read_findings([tmp_path])
    with pytest.raises(scorecard.ScorecardError, match=r"expected a claim out of C1.*found C14"):
        finding("C14")
    (tmp_path / "findings").mkdir()
    (tmp_path / "findings" / "06.csv").write_text("claim,value\nC1,1\n")
    with pytest.raises(scorecard.ScorecardError, match=r"06\.csv: expected columns claim,measure"):
        scorecard.read_findings([tmp_path])


def test_fusion_findings_are_the_differences_of_evaluation():
    """Measures named for what they are; the best channel is named among all, C3 against others."""
    right = {  # of the patches of a0, a1, b0, b1
        "mitochondria": [1, 1, 1, 0], "golgi": [1, 0, 0, 0], "early": [1, 1, 0, 0],
        "late": [0, 0, 0, 0], "intermediate": [1, 1, 1, 1],
    }  # fmt: skip
    rows = [
        (model, 0, 0, n, group, group, group[0], "test", float((group[0] == "a") == bool(hit)))
        for model, hits in right.items()
        for n, (group, hit) in enumerate(zip(("a0", "a1", "b0", "b1"), hits, strict=True))
    ]
    columns = ["model", "fold", "seed", "patch", "image", "group", "label", "part", "p:a"]
    frame = pd.DataFrame(rows, columns=columns)
    frame["p:b"] = 1 - frame["p:a"]
    found = scorecard.fusion_findings(
        frame, ["golgi", "mitochondria"], data="phantom", repeats=50, seed=0
    )
    assert [(row["claim"], row["measure"], row["value"]) for row in found] == [
        ("C1", "intermediate minus early fusion", 0.5),
        ("C1", "intermediate minus late fusion", 1.0),
        ("C2", "intermediate fusion minus the best single channel", 0.25),
        ("C3", "mitochondria minus the other channel", 0.5),
        ("C3", "mitochondria minus intermediate fusion", -0.25),
    ]
    assert [row["reference"] for row in found] == [0, 0, 0, 0, -0.05]
    assert found[4]["sense"] == "above"
    without = frame[frame["model"] != "mitochondria"]
    found = scorecard.fusion_findings(without, ["golgi"], data="x", repeats=50, seed=0)
    assert [row["claim"] for row in found] == ["C1", "C1", "C2"]


def images_told(rates, *, unit):
    """Predictions of two classes with four images each; `rates`: image → right or wrong."""
    rows = []
    for image, right in rates.items():
        label = image[0]
        said = label if right else {"a": "b", "b": "a"}[label]
        for _ in range(unit):
            rows.append(
                {
                    "model": "otccp", "fold": 0, "seed": 0, "patch": len(rows),
                    "image": image, "group": image,
                    "label": label, "part": "test",
                    "p:a": float(said == "a"), "p:b": float(said == "b"),
                }
            )  # fmt: skip
    return pd.DataFrame(rows)


def test_handcrafted_findings_compare_by_image_what_both_have():
    """Units differ (3 patches, 5 objects an image), and image b3 has no object: it is left out."""
    names = [f"{label}{number}" for label in "ab" for number in range(4)]
    right = dict.fromkeys(names, True)
    networks = pd.concat(
        [
            images_told(right | {"b3": False}, unit=3).assign(model="intermediate"),
            images_told(right | {"a0": False}, unit=3).assign(model="early_endosomes"),
        ]
    )
    had = {name: True for name in names if name != "b3"}
    measured = {
        "otccp_early_endosomes": images_told(had | {"a1": False}, unit=5),
        "otccp_mitochondria": images_told(had | {"a0": False, "a1": False}, unit=5),
        "otccp_contacts": images_told(had | {"b0": False}, unit=5),
    }
    options = {"data": "phantom", "repeats": 200, "seed": 0}
    found = scorecard.handcrafted_findings(networks, measured, **options)
    assert [(row["claim"], row["reference"]) for row in found] == [
        ("C4", 0), ("C4", 0), ("C12", -0.05),
    ]  # fmt: skip
    # Balanced accuracies on a0-a3, b0-b2: contacts (1 + 2/3)/2, the best other 1.
    assert found[0]["value"] == pytest.approx((1 + 2 / 3) / 2 - 1)
    assert found[1]["value"] == pytest.approx((3 / 4 + 1) / 2 - (2 / 4 + 1) / 2)
    assert found[2]["value"] == pytest.approx(1 - (3 / 4 + 1) / 2)
    # Our own fusion is no classifier of the paper: a faultless one changes nothing.
    worse = networks.assign(model="intermediate").iloc[len(networks) // 2 :]
    ours = images_told(right, unit=3).assign(model="spatial")
    beside = [
        scorecard.handcrafted_findings(nets, measured, **options)[0]["value"]
        for nets in (worse, pd.concat([worse, ours]))
    ]
    assert beside[0] == pytest.approx(beside[1])
    # No image of a has all three kinds: nothing is said over b alone.
    contacts = measured["otccp_contacts"]
    split = {
        "otccp_contacts": contacts[contacts["image"].isin(["a0", "b0", "b1"])],
        "otccp_mitochondria": contacts[contacts["image"].isin(["a1", "b0", "b1"])],
    }
    assert scorecard.handcrafted_findings(networks, split, **options) == []
    del measured["otccp_contacts"], measured["otccp_early_endosomes"]
    others = scorecard.handcrafted_findings(networks, measured, **options)
    assert [row["claim"] for row in others] == ["C12"]
    assert scorecard.handcrafted_findings(networks, {}, **options) == []


def test_what_decides_by_a_margin_or_against_the_best_is_said():
    """Two margins, one of them twice; two claims against the best of several, one twice."""
    rows = [
        ("C1", "intermediate minus early fusion", "above", 0.0),
        ("C3", "mitochondria minus the better of the other channels", "above", 0.0),
        ("C10", "further parameters of early fusion", "below", 0.05),
        ("C12", "intermediate fusion minus the best handcrafted classifier", "above", -0.05),
        ("C12", "once more minus the best handcrafted classifier", "above", -0.0500001),
        ("C13", "balanced accuracy at 200 px, the best size", "above", 1 / 6),
    ]
    findings = pd.DataFrame(rows, columns=["claim", "measure", "sense", "reference"])
    assert scorecard.margin_sentence(findings) == (
        "Compared with another value than 0 are C10, below 0.05; C12, above -0.05; "
        "C13, above 0.167."
    )
    assert scorecard.rival_sentence(findings).startswith("In C3, C12 the comparison is with ")
    assert scorecard.margin_sentence(findings.head(2)) == ""
    assert scorecard.rival_sentence(findings.head(1)) == ""
