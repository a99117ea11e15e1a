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
# **Question.** Do the fusion strategies rank alike on real multichannel cells?
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
    evaluation,
    folds,
    plots,
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
# names neither plate nor field, so that a batch effect within a cell line cannot be excluded: read
# the scores as an upper bound for new slides.

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
# As in the 5-fold chapter, with groups in place of images.

# %%
split = folds.make_folds(patch_set.table, **settings.folds.model_dump())
folds.check_no_leakage(split, patch_set.table)
folder = results_folder(settings, "cell-lines-9")
folds.write_folds(folder / "folds.csv", split)

# %% tags=["hide-output"]
strategies = [*channels, *FUSIONS]
predictions = sweep.train_cells(
    patch_set,
    split,
    models=strategies,
    profile=settings.for_crops(channels, patch_set.patches.shape[1]),
    dataset="cell-lines-9",
    size_px=patch_set.patches.shape[1],
    folder=folder / "predictions",
    seed=settings.folds.seed,
)

# %% [markdown]
# ## Scores

# %%
bootstrap = {
    "repeats": settings.bootstrap_repeats,
    "seed": settings.folds.seed,
}
scores = evaluation.score_table(predictions, level="patch", **bootstrap)
rows = {
    model: name
    for model, name in evaluation.paper_rows(channels).items()
    if model in strategies
}
show_table(
    evaluation.paper_table(scores, rows).reset_index(),
    "Five grouped folds on real cells (cell-lines-9): value and 95 % group-bootstrap interval.",
    "tab-real",
    data=scores,
)

# %% mystnb={"figure": {"name": "fig-real-scores", "caption": "Scores with 95 % group-bootstrap intervals on real cells (cell-lines-9), 5 grouped folds. The dashed line is chance."}, "image": {"alt": "Dot plot of four metrics for all classifiers with interval bars and a chance line"}}
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
# Spatial fusion, which is ours, should cost little against intermediate fusion. Named before its scores were known: the lower
# end of the interval of their difference should lie above −0.10.

# %%
margin = -0.10
cost = evaluation.paired_difference(
    predictions, "spatial", "intermediate", **bootstrap
)
Markdown(
    difference_sentence(
        "spatial minus intermediate fusion, real cells", cost
    )
    + f" The lower end lies {'above' if cost['low'] > margin else 'not above'} {margin:.2f}."
)

# %% [markdown]
# ## With large networks, on more cells
#
# The reference run trains ResNet50 from scratch on as many crops of each class as the rarest has, on a GPU; how is on the page
# *Reproducing this book*. What it has found is kept with the book and shown here, whatever the profile of this page.

# %%
display(
    *beside_reference(
        predictions,
        "cell-lines-9",
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

# %%
Markdown(
    "**Answer.** "
    + " ".join(
        difference_sentence(found["measure"], found) for found in findings
    )
)
