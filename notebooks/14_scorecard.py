# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Scorecard
#
# **Question.** Which of the paper's claims are supported here, which are refuted, and which stay
# open?
#
# Thirteen claims of the paper, in a few of its own words; beside each what this book found, on
# which data, and a verdict. The verdicts follow by rule from the numbers, and the numbers are those
# of the chapters before this one. The rules of C1 to C3 and C10 were written after the fusion
# chapters had numbers, the others before theirs. Those of C3, C7, C8 and C9 were changed after
# their numbers were seen, and those of C4 and C12, to judge by image, after a part of theirs was;
# each says so. C10, C12 and C13 were reworded later.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
from IPython.display import Markdown

from organelle_fusion import histories, plots, scorecard
from organelle_fusion.config import load_profile
from organelle_fusion.pages import (
    class_size_sentence,
    data_banner,
    open_run,
    results_folder,
    show_table,
)

settings = load_profile(profile)
run = open_run(settings, manifest)
data_banner(
    settings,
    run,
    "Rows that say so come from real cells (cell-lines-9) or from the networks alone.",
)

# %% [markdown]
# ## How a verdict comes about
#
# A *finding* is a measure with its 95 % interval. One that decides is compared with a value that
# its rule names: 0, chance for a score, or a margin (listed below the scorecard). It speaks for the claim if its whole interval
# lies on the side the claim asks for, against it if the whole interval lies on the other side, and
# otherwise leaves it open. Then, on each kind of data:
#
# supported
# : every finding that decides speaks for the claim;
#
# a property of the method, shown on the phantom
# : the same, on synthetic images: the method does this where the truth was planted, and cell lines
#   may be otherwise;
#
# refuted
# : a finding speaks against the claim, as a statement on the method on these data;
#
# cannot tell
# : anything else. A claim that concerns the paper's six cell lines stays at "cannot tell" whatever
#   a phantom or other cells show, and so does the size of every effect on those lines. Only one's
#   own stacks of these six lines, so labelled, can decide it.
#
# Intervals are taken as they are: each answers a question of its own, and none is widened for their
# number. The p-values of chapters 6 and 7, adjusted for three comparisons, decide nothing here.
# That larger patches are fewer (C7) is arithmetic, and that small patches of the phantom tell its
# classes (C13) was planted. So was that several organelles beat one (C2, a part of C3 and of C9):
# each appearance of an organelle is shared by two classes (chapter 1). Real cells rest on one
# division into folds, and crops of one plate may be alike: those intervals may be too narrow too.

# %%
claims = scorecard.read_claims()
show_table(
    scorecard.rule_table(claims),
    "The claims, where the paper makes them, and the rule for each (for phantom, real cells and networks alike).",
    "tab-rules",
)

# %% [markdown]
# ## The scorecard

# %%
images = run.read()
findings = scorecard.read_findings(
    [run.folder, results_folder(settings, "cell-lines-9")]
)
card = scorecard.scorecard(
    claims,
    findings,
    labels=() if run.is_phantom else images["label"],
)
show_table(
    card,
    f"The paper's claims and what was found for each ({run.data}, real cells, networks).",
    "tab-scorecard",
)

# %% tags=["hide-input"]
known = histories.known_words(results_folder(settings, "cell-lines-9"))
deciding = scorecard.deciding(findings, claims)
sentences = [
    scorecard.margin_sentence(deciding),
    scorecard.rival_sentence(deciding),
    known,
    f"Intervals of {run.data} resample whole images or groups. {class_size_sentence(images)}",
]
Markdown(" ".join(sentence for sentence in sentences if sentence))

# %% [markdown]
# A finding without brackets is an exact number, or a time that was measured once. "No interval"
# means that the images of each class are all classified rightly or all wrongly, or nearly so, and
# nothing shows how other images would have scored; its claim stays open. "Not computed" says that
# no chapter has measured it.
#
# ## What decided
#
# On C3, C4, C5, C6 and C12 the figure shows the result on the data of this book. Unless the stacks
# are one's own of the paper's six cell lines, it cannot say whether those lines do the same, on
# whichever side of zero a finding lies.

# %% mystnb={"figure": {"name": "fig-scorecard", "caption": "Findings that decide, as their distance from the value they are compared with, with 95 % intervals; data: {data}, real cells where named, networks. To the right of zero a finding speaks for its claim."}, "image": {"alt": "Forest plot of findings by claim: marks with interval bars left and right of a zero line"}}
plots.scorecard_figure(deciding)

# %%
counts = card["verdict"].value_counts()
Markdown(
    "**Answer.** Of "
    + f"{len(claims)} claims in {len(card)} rows: "
    + "; ".join(f"{number} × {words}" for words, number in counts.items())
    + "."
    + " No row judges the paper's own cell lines, whose images are closed."
    * run.is_phantom
    + " What supports C10 is that networks can have these numbers of parameters, with widths that we chose."
    * ("C10" in set(card["claim"][card["verdict"] == scorecard.SUPPORTED]))
)
