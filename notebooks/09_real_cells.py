# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Real cells
#
# **Question.** Do the fusion strategies rank alike on real multichannel cells and on the phantom?
#
# The paper's images are closed. These are public crops of nine human cell lines with three stains:
# nucleus, microtubules and endoplasmic reticulum. They are not the paper's organelles and not its
# cell lines, so that nothing here confirms or refutes a statement on breast cancer; the question is
# whether the *method* carries over. The crops carry no clear licence: this page shows numbers made
# from them, never the pictures.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file

# %% tags=["hide-input"]
from IPython.display import Markdown, display

from organelle_fusion import (
    comparisons,
    evaluation,
    folds,
    histories,
    plots,
    ranking,
    scorecard,
    sources,
    sweep,
)
from organelle_fusion.config import FUSIONS, load_profile, use_backend
from organelle_fusion.pages import (
    data_banner,
    difference_sentence,
    results_folder,
    show_table,
)
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import Cell, read_provenance
from organelle_fusion.provenance import write_csv
from organelle_fusion.reference_results import beside_reference

settings = load_profile(profile)
use_backend(settings)
data_banner(
    settings,
    None,
    "<b>Real cells.</b> Public single-cell crops (cell-lines-9), as numbers only.",
)

# %% [markdown]
# ## The crops
#
# Each crop holds one nucleus. Shifted copies of a cell form a group, one of each is kept, and no
# group straddles folds. The subset is balanced over the classes and sized for a laptop. The set
# names neither plate nor field: nothing above the crop is known. Folds and intervals are therefore by crop, where
# elsewhere in this book they are by image. Crops of one plate or field may be alike, and then lie in training and test at once:
# an effect of plate or day within a cell line cannot be excluded, the intervals are narrower than those for new slides would be,
# and the scores may be higher.

# %%
crops, table, channels = sources.read_crops("cell-lines-9")
chosen = sources.balanced_subset(
    table,
    settings.real_cells.crops_per_class,
    seed=settings.real_cells.seed,
)
patch_set = PatchSet.from_crops(crops[chosen], table.iloc[chosen], channels)

# %%
classes = patch_set.classes
Markdown(
    f"{len(chosen)} of {len(table):,} crops are used, {settings.real_cells.crops_per_class} for each "
    f"of {len(classes)} cell lines ({', '.join(classes)}), from "
    f"{table['group'].iloc[chosen].nunique()} groups. Chance is {1 / len(classes):.2f}."
)

# %% [markdown]
# ## Folds and training
#
# As in the 5-fold chapter, with groups of crops in place of images.

# %%
split = folds.make_folds(patch_set.table, **settings.folds.model_dump())
folds.check_no_leakage(split, patch_set.table)
folder = results_folder(settings, "cell-lines-9")
folds.write_folds(folder / "folds.csv", split)

# %% tags=["hide-output"]
strategies = [*channels, *FUSIONS]
size_px, seed = patch_set.patches.shape[1], settings.folds.seed
predictions = sweep.train_cells(
    patch_set,
    split,
    models=strategies,
    profile=settings.for_crops(channels, size_px),
    dataset="cell-lines-9",
    size_px=size_px,
    folder=folder / "predictions",
    seed=seed,
)

# %% [markdown]
# ## How far the trainings got
#
# The settings are those of the profile, which were chosen for other images. Real crops may need
# longer training, larger networks or more of them: features made by hand, on all crops of the set,
# gave a balanced accuracy of 0.68 when the set was prepared, as `data/README.md` of this repository
# says. Networks that misclassify even the crops they were trained on have been trained too briefly;
# their order is then one of networks that learn fast, and says little about what they could learn.

# %%
ends = histories.last_epochs(
    {
        model: [
            read_provenance(cell.path(folder / "predictions"))["details"][
                "history"
            ]
            for cell in (
                Cell("cell-lines-9", size_px, model, fold, seed)
                for fold in split["fold"].unique()
            )
        ]
        for model in strategies
        if model != "late"
    }
)
write_csv(folder / histories.LEARNT, ends)
learnt = histories.learnt_sentence(ends, "crops")
Markdown(learnt)

# %% [markdown]
# ## Scores

# %%
bootstrap = {
    "repeats": settings.bootstrap_repeats,
    "seed": seed,
}
scores = evaluation.score_table(predictions, level="patch", **bootstrap)
rows = {
    model: name
    for model, name in evaluation.paper_rows(channels).items()
    if model in strategies
}
show_table(
    evaluation.paper_table(scores, rows).reset_index(),
    f"{settings.folds.n_splits} grouped folds on real cells (cell-lines-9): value and 95 % group-bootstrap interval.",
    "tab-real",
    data=scores,
)

# %% mystnb={"figure": {"name": "fig-real-scores", "caption": "Scores with 95 % group-bootstrap intervals on real cells (cell-lines-9), grouped folds. The dashed line is chance."}, "image": {"alt": "Dot plot of four metrics for all classifiers with interval bars and a chance line"}}
plots.score_figure(
    scores, evaluation.chance_levels(patch_set.table["label"], classes)
)

# %% mystnb={"figure": {"name": "fig-real-confusion", "caption": "Confusion matrices on real cells (cell-lines-9), pooled out-of-fold. Rows are the true cell line; colour is the share of the row."}, "image": {"alt": "A confusion matrix for each classifier with counts and row percentages"}}
plots.confusion_figure(
    {
        model: evaluation.confusion(predictions, model)
        for model in strategies
    }
)

# %% mystnb={"figure": {"name": "fig-real-pr", "caption": "Precision–recall curves on real cells (cell-lines-9), pooled out-of-fold."}, "image": {"alt": "A panel for each classifier of precision against recall, one curve per cell line"}}
plots.pr_figure(
    {
        model: evaluation.pr_curves(predictions, model)
        for model in strategies
    }
)

# %% [markdown]
# Spatial fusion, which is ours, should cost little against intermediate fusion. Named before its scores were known: a loss of
# 0.10 or more should be excluded. Its design was chosen by scores on phantoms, and not on these crops.

# %%
cost = comparisons.paired_difference(
    predictions, "spatial", "intermediate", **bootstrap
)
Markdown(
    difference_sentence(
        "spatial minus intermediate fusion, real cells", cost, margin=-0.10
    )
)

# %% [markdown]
# ## With large networks, on more cells
#
# The reference run trains ResNet50 from scratch on as many crops of each class as the rarest has,
# on a GPU ([how](../reproducing.md)). What it has found is kept with the book and shown here,
# whatever the profile of this page.

# %%
display(
    *beside_reference(
        {"cell-lines-9": predictions},
        "cell-lines-9",
        own=settings.name,
        name="tab-reference-real",
        **bootstrap,
    )
)

# %%
findings = scorecard.fusion_findings(
    predictions, channels, data="real cells (cell-lines-9)", **bootstrap
)
scorecard.write_findings(folder, "09", findings)

# %% [markdown]
# ## Beside the phantom
#
# The order of the strategies here, and on the phantom of the same profile, if the chapter on five
# folds has run on it. All pairs are compared by their unadjusted intervals. Against the best single
# channel, the best is chosen anew in each resample and flattered there, so these intervals are
# biased towards the single channels.

# %%
accuracy = scores[scores["metric"] == "balanced_accuracy"].set_index(
    "model"
)
here = ranking.Ranking(
    ranking.rank_scores(accuracy["value"], channels, FUSIONS),
    ranking.pair_table(predictions, channels, FUSIONS, **bootstrap),
)
there = ranking.read_ranking(
    results_folder(settings, "phantom"), settings.channels, FUSIONS
)
lines = (
    [
        "There is no ranking of the phantom under this profile to compare with."
    ]
    if there is None
    else ranking.compare_rankings({"real cells": here, "phantom": there})
)
Markdown(ranking.ranking_sentence(here))

# %%
Markdown(
    "**Answer.** "
    + "\n- ".join(lines)
    + "\n\n"
    + " ".join(
        difference_sentence(found["measure"], found) for found in findings
    )
    + f"\n\n{learnt} Networks that misclassify their own training crops were trained too briefly, and their order says little."
)
