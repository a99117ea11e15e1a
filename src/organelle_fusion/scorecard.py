"""The claims of the paper, what the chapters found of each, and the verdict by rule.

Every chapter writes its *findings*: a measure with its interval, and where it decides a claim the
value to compare it with. The verdicts follow from findings alone, by the rules in
``registry/claims.yaml``, which says when they were written.
"""

from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import yaml

from organelle_fusion.comparisons import (
    best_single_difference,
    lost_classes,
    on_shared_images,
    paired_difference,
    rival_difference,
    strategy_differences,
)
from organelle_fusion.config import FUSIONS, UserError
from organelle_fusion.evaluation import NOT_COMPUTED, PAPER_FUSIONS
from organelle_fusion.provenance import note_file, write_csv
from organelle_fusion.significance import interval_text
from organelle_fusion.wording import decimals

COLUMNS = ("claim", "measure", "value", "low", "high", "reference", "sense", "data")
CONCERNS = ("method", "cell lines", "computation")

PHANTOM = "phantom"
PROPERTY = "a property of the method, shown on the phantom"
SUPPORTED, REFUTED, CANNOT_TELL = "supported", "refuted", "cannot tell"

Outcome = Literal["holds", "fails", "open"]
Sense = Literal["above", "below", "apart"]

CELL_LINES = {"MCF10A", "AU565", "T47D", "MDA-MB-231", "MDA-MB-468", "MDA-MB-436"}
"""The six lines of the paper, as labels of a manifest that shows them are spelt."""


class ScorecardError(UserError):
    """Findings that cannot be judged; the message is one line."""


def read_claims() -> dict[str, dict[str, str]]:
    """Claims C1 to C13 of the paper: ``claim``, ``section``, ``concerns`` and ``rule`` of each."""
    source = note_file(resources.files("organelle_fusion") / "registry" / "claims.yaml")
    return yaml.safe_load(source.read_text("utf-8"))


def finding(
    claim: str,
    measure: str,
    figure: Mapping[str, float] | float,
    *,
    data: str,
    reference: float = float("nan"),
    sense: Sense = "above",
) -> dict:
    """One measure that bears on a claim.

    Parameters
    ----------
    claim
        C1 to C13.
    measure
        What was measured, in words.
    figure
        ``value``, ``low`` and ``high`` (95 % interval; NaN where the groups give none), or one
        exact number.
    data
        What it was measured on: ``phantom``, or words for other data.
    reference, sense
        The claim asks that the measure lie above (or below) the reference, or apart from it on
        whichever side; NaN: it is shown only, and decides nothing.

    Returns
    -------
    dict
        A row with the columns `COLUMNS`.

    Raises
    ------
    ScorecardError
        There is no such claim.
    """
    known = read_claims()
    if claim not in known:
        raise ScorecardError(f"finding: expected a claim out of {', '.join(known)}, found {claim}")
    if not isinstance(figure, Mapping):
        figure = dict.fromkeys(("value", "low", "high"), float(figure))
    return {
        "claim": claim,
        "measure": measure,
        **{name: float(figure[name]) for name in ("value", "low", "high")},
        "reference": float(reference),
        "sense": sense,
        "data": data,
    }


def fusion_findings(
    predictions: pd.DataFrame, channels: Sequence[str], *, data: str, repeats: int, seed: int
) -> list[dict]:
    """What one evaluation of all strategies says of the claims C1, C2 and C3.

    Parameters
    ----------
    predictions
        Of the single channels, early, intermediate and late fusion, see `metrics`.
    channels
        Names of the single channels. C3 concerns mitochondria, and is left out without them.
    data
        As in `finding`.
    repeats, seed
        Of the bootstrap, see `evaluation.score_table`.

    Returns
    -------
    list of dict
        `finding` rows: intermediate minus early, minus late (C1), and minus the best single
        channel (C2); mitochondria minus the better of the other channels, and minus intermediate
        fusion (C3).
    """
    options = {"repeats": repeats, "seed": seed}
    decisive = {"reference": 0, "data": data}
    differences = strategy_differences(predictions, channels, **options)
    findings = [
        finding(claim, measure, difference, **decisive)
        for claim, (measure, difference) in zip(
            ("C1", "C1", "C2"), differences.items(), strict=True
        )
    ]
    if "mitochondria" in channels:
        others = [name for name in channels if name != "mitochondria"]
        other = "better of the other channels" if len(others) > 1 else "other channel"
        ahead = best_single_difference(predictions, others, "mitochondria", **options)
        short = paired_difference(predictions, "mitochondria", "intermediate", **options)
        findings += [
            finding("C3", f"mitochondria minus the {other}", ahead, **decisive),
            finding(
                "C3", "mitochondria minus intermediate fusion", short, data=data, reference=-0.05
            ),
        ]
    return findings


def handcrafted_findings(
    networks: pd.DataFrame,
    measured: Mapping[str, pd.DataFrame],
    *,
    data: str,
    repeats: int,
    seed: int,
) -> list[dict]:
    """What networks and handcrafted features, tested on the same images, say of C4 and C12.

    Scores are by image, which is what patches and objects share; images without a measured object
    of every kind are left out for all, and so is a finding whose features are missing.

    Parameters
    ----------
    networks
        Predictions of the single channels, early, intermediate and late fusion. Those of spatial
        fusion, which is not of the paper, are left out.
    measured
        ``otccp_<channel>`` and ``otccp_contacts`` → predictions; empty where nothing was measured.
    data
        As in `finding`.
    repeats, seed
        Of the bootstrap.

    Returns
    -------
    list of dict
        `finding` rows: features of contacts minus the best of all others, those of early endosomes
        minus the best other organelle's (C4); intermediate fusion minus the best of all
        handcrafted ones (C12). Empty where no image of some class has them all.
    """
    if not measured:
        return []
    ours = set(FUSIONS) - set(PAPER_FUSIONS)  # of which the paper's claims say nothing
    by_model = {
        str(name): frame
        for name, frame in networks.groupby("model", sort=False)
        if name not in ours
    }
    if lost_classes({**measured, **by_model}):
        return []
    shared = on_shared_images({**measured, **by_model})
    rivals, nets = ({name: shared[name] for name in part} for part in (measured, by_model))
    options = {"level": "image", "repeats": repeats, "seed": seed}
    others = {name: frame for name, frame in rivals.items() if name != "otccp_contacts"}
    decisive = {"data": data, "reference": 0}
    found = []
    if "otccp_contacts" in rivals:
        best = rival_difference(rivals["otccp_contacts"], others | nets, **options)
        words = "contact features minus the best other classifier, by image"
        found.append(finding("C4", words, best, **decisive))
    if "otccp_early_endosomes" in others and len(others) > 1:
        own = others.pop("otccp_early_endosomes")
        ahead = rival_difference(own, others, **options)
        words = "features of early endosomes minus the best other organelle's, by image"
        found.append(finding("C4", words, ahead, **decisive))
    nearly = rival_difference(nets["intermediate"], rivals, **options)
    words = "intermediate fusion minus the best handcrafted classifier, by image"
    return [*found, finding("C12", words, nearly, data=data, reference=-0.05)]


def write_findings(folder: Path, chapter: str, rows: Sequence[Mapping]) -> None:
    """Write the findings of a chapter, such as "06", to ``findings/<chapter>.csv`` of its run."""
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    write_csv(Path(folder) / "findings" / f"{chapter}.csv", frame)


def read_findings(folders: Iterable[Path]) -> pd.DataFrame:
    """Findings of all chapters of some runs, in the order of folders and chapters.

    Raises
    ------
    ScorecardError
        There are none, or a file has other columns.
    """
    frames = []
    for folder in folders:
        for chapter in range(1, 100):
            # Noted whether it is there or not: one that comes later changes the scorecard.
            path = note_file(Path(folder) / "findings" / f"{chapter:02d}.csv")
            if not path.is_file():
                continue
            frame = pd.read_csv(path)
            if tuple(frame.columns) != COLUMNS:
                raise ScorecardError(
                    f"{path}: expected columns {','.join(COLUMNS)}, found "
                    f"{','.join(frame.columns)}; run the chapter again"
                )
            frames.append(frame)
    if not frames:
        raise ScorecardError("findings: expected a file of a chapter, found none; run `make book`")
    return pd.concat(frames, ignore_index=True)


def outcome(row: Mapping) -> Outcome:
    """Say whether one decisive finding bears its claim out.

    It ``holds`` if the whole interval lies on the side of the reference that the claim asks for,
    ``fails`` if the whole interval lies on the other side, and is ``open`` otherwise, and where
    there is no interval. Where it may lie on either side, it never fails by an interval. An exact
    number, whose ends are itself, holds or fails.
    """
    if np.isnan([row["value"], row["low"], row["high"]]).any():
        return "open"
    above, below = (
        min(sign * (row[end] - row["reference"]) for end in ("low", "high")) > 0 for sign in (1, -1)
    )
    asked, other = {
        "above": (above, below),
        "below": (below, above),
        "apart": (above or below, False),
    }[row["sense"]]
    if asked:
        return "holds"
    return "fails" if other or _is_exact(row) else "open"


def verdict(
    concerns: str, data: str, outcomes: Sequence[Outcome], *, shows_lines: bool = False
) -> str:
    """Judge a claim on one kind of data from its decisive findings.

    All hold: *supported*, or on the phantom *a property of the method, shown on the phantom*. One
    fails: *refuted*, as a statement on the method on these data. Otherwise, and always where the
    claim concerns the six cell lines and the data do not show them: *cannot tell*.

    Parameters
    ----------
    concerns
        Out of `CONCERNS`.
    data
        ``phantom``, or other words.
    outcomes
        Of `outcome`; empty where nothing decides.
    shows_lines
        The data show the paper's six cell lines.

    Raises
    ------
    ScorecardError
        There is no such concern.
    """
    if concerns not in CONCERNS:
        raise ScorecardError(f"concerns: expected one of {', '.join(CONCERNS)}, found {concerns}")
    if not outcomes or (concerns == "cell lines" and not shows_lines):
        return CANNOT_TELL
    if "fails" in outcomes:
        return REFUTED
    if "open" in outcomes:
        return CANNOT_TELL
    return PROPERTY if data == PHANTOM else SUPPORTED


def scorecard(
    claims: Mapping[str, Mapping[str, str]], findings: pd.DataFrame, *, labels: Iterable[str] = ()
) -> pd.DataFrame:
    """One row per claim and kind of data, in the order of the claims.

    Parameters
    ----------
    claims
        Of `read_claims`.
    findings
        Of `read_findings`.
    labels
        Classes of one's own stacks: only if they are `CELL_LINES` do these stacks, whose findings
        have a name of data that begins with "own", decide claims on the cell lines.

    Returns
    -------
    DataFrame
        claim (number), wording, data, figures (a line per measure: value and 95 % interval),
        verdict. A claim that no chapter has measured reads "not computed".
    """
    rows = []
    for name, about in claims.items():
        of_claim = findings[findings["claim"] == name]
        for data, part in of_claim.groupby("data", sort=False):
            decisive = part[part["reference"].notna()]
            outcomes = [outcome(row) for row in decisive.to_dict("records")]
            lines = [_line(row) for row in part.to_dict("records")]
            lines_shown = str(data).startswith("own") and set(labels) == CELL_LINES
            judged = verdict(about["concerns"], str(data), outcomes, shows_lines=lines_shown)
            rows.append((name, about["claim"], str(data), "\n".join(lines), judged))
        if of_claim.empty:
            rows.append((name, about["claim"], "none", NOT_COMPUTED, CANNOT_TELL))
    return pd.DataFrame(rows, columns=["claim", "wording", "data", "figures", "verdict"])


def rule_table(claims: Mapping[str, Mapping[str, str]]) -> pd.DataFrame:
    """Claims as a table: claim, wording, section of the paper, what it concerns, rule."""
    rows = [
        (name, about["claim"], about["section"], about["concerns"], about["rule"])
        for name, about in claims.items()
    ]
    return pd.DataFrame(rows, columns=["claim", "wording", "section", "concerns", "rule"])


def deciding(findings: pd.DataFrame, claims: Iterable[str]) -> pd.DataFrame:
    """Findings that decide, in the order of the claims, with their ``outcome``."""
    rows = findings[findings["reference"].notna()]
    order = rows["claim"].map({name: place for place, name in enumerate(claims)})
    rows = rows.loc[order.sort_values(kind="stable").index].reset_index(drop=True)
    return rows.assign(outcome=[outcome(row) for row in rows.to_dict("records")])


def margin_sentence(findings: pd.DataFrame) -> str:
    """Say which findings of `deciding` are compared with another value than 0; "" if none is."""
    others = findings.loc[findings["reference"] != 0, ["claim", "sense", "reference"]]
    named = [
        f"{row.claim}, {row.sense} {row.reference:g}"
        for row in others.round(3).drop_duplicates().itertuples()
    ]
    return f"Compared with another value than 0 are {'; '.join(named)}." if named else ""


def rival_sentence(findings: pd.DataFrame) -> str:
    """Say which findings of `deciding` have the best of several as a rival; "" if none has."""
    rivals = findings["measure"].str.contains(r"\bminus the (?:best|better)\b")
    claims = findings.loc[rivals, "claim"].unique()
    if not len(claims):
        return ""
    return (
        f"In {', '.join(claims)} the comparison is with the best of several others, chosen anew in "
        "each resample. Chance flatters the best of several, so these findings are biased against "
        "their claims."
    )


def _is_exact(row: Mapping) -> bool:
    return row["low"] == row["high"] == row["value"]


def _line(row: Mapping) -> str:
    value, reference = row["value"], row["reference"]
    if _is_exact(row):
        words = f"{value:.{decimals(value, value - reference)}f}"
    else:
        words = interval_text(value, row["low"], row["high"], "", beside=reference)
    return f"{row['measure']}: {words}"
