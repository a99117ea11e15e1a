# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Settings by search
#
# **Question.** Which training settings does a search find, and are they near the paper's?
#
# The paper tunes its networks by Hyperband {cite:p}`li2018` and reports batches of 32 patches, a dropout of
# 0.4 and a learning rate that falls by a twentieth every 175 steps. On which images it searched, and between
# which values, it does not say. Settings that are chosen on the images of a table flatter the table, so that no
# setting here has seen an image that it is scored on.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion.config import load_profile, use_backend

settings = load_profile(profile)
use_backend(settings)

from organelle_fusion import (
    comparisons,
    earlier,
    evaluation,
    folds,
    plots_tuning,
    preprocessing,
    size_search,
    sweep,
    trials,
    tuning,
)
from organelle_fusion.pages import (
    data_banner,
    difference_sentence,
    open_run,
    show_table,
)
from organelle_fusion.provenance import write_csv
from organelle_fusion.significance import interval_text
from organelle_fusion.wording import number_of

run = open_run(settings, manifest)
size_px, limits = settings.patches.size_px, settings.tuning
data_banner(settings, run)

# %% [markdown]
# ## Images to search on
#
# For the phantom these are the separate images of the chapter on patch size: other images of the same laws, which
# that chapter alone scores, to choose a patch size. They are divided as the scored images are, and the search has the training and validation
# images of the first fold, as many as each network of the other chapters.
#
# One's own stacks have no separate images. There the search is *nested*: in each fold of the book it is made anew with
# the training and validation images of that fold, so that no setting has seen the images that it is scored on.

# %% tags=["hide-output"]
scored_set = earlier.read_patches(run, settings)
searched_set, images = scored_set, f"{run.data}, inside each fold"
if run.is_phantom:
    separate = size_search.separate_images(
        run.folder / "selection", settings
    )
    searched_set, *_ = preprocessing.build_patch_set(
        separate,
        channels=settings.channels,
        settings=settings.patches,
        output_px=settings.encoder.input_px,
    )
    images = f"{run.data}, separate images"

# %%
divided = settings.folds.model_dump()
searched_folds = folds.make_folds(searched_set.table, **divided)
scored_folds = folds.make_folds(scored_set.table, **divided)
numbers = sorted(set(scored_folds["fold"].tolist()))

# %% [markdown]
# ## The search
#
# Hyperband draws settings at random. Its first bracket trains many of them for a few epochs and lets the best go
# on; each further bracket starts with fewer and trains them longer. A trial is judged by the share of the
# validation patches that it classifies correctly in its best epoch. The network is that of intermediate fusion, the
# paper's proposal. The decay of the learning rate is not searched, and stays as the paper states it.

# %% tags=["hide-output"]
found = tuning.tune_folds(
    searched_set,
    searched_folds,
    numbers[:1] if run.is_phantom else numbers,
    profile=settings,
    folder=run.folder / "tuning",
)
trials.write_trials(run.folder / "tuning" / "trials.csv", found)

# %%
show_table(
    trials.trials_table(found),
    f"All trials of the search; data: {images}. Brackets start with many trials of few epochs or, at 0, with few of many.",
    "tab-trials",
    data=found,
)

# %% mystnb={"figure": {"name": "fig-tuning", "caption": "Each trial of the search as a line across its settings, coloured by the accuracy on validation patches; data: {data}, training and validation images only. Lines through one value of a few are set a little apart. Bold: the trial whose settings are chosen."}, "image": {"alt": "Parallel coordinates: seven upright axes, from the learning rate to the validation accuracy, one coloured line per trial and the chosen one bold"}}
plots_tuning.tuning_figure(found, limits)

# %%
few = found["epochs"].min()
reached = found.loc[found["epochs"] == few, "val_accuracy"].max()
guessing = 1 / len(searched_set.classes)
Markdown(
    f"Of the trials that were judged after {number_of(few, 'epoch')}, none had exceeded {reached:.2f}, where guessing gives {guessing:.2f}: the closer "
    "the two, the more luck decided which were stopped there. The validation accuracy of the best trial is too high, "
    "being the best of several trials and of several epochs. It serves to choose, and is not reported as a score."
)

# %%
table = trials.chosen_table(found, settings.training, limits)
show_table(
    table,
    f"Values found by the search, those of the profile that the book uses, and those of the paper; data: {images}.",
    "tab-tuned",
)

# %% [markdown]
# ## What the choice is worth
#
# Networks with the settings found are trained in the folds of the scored images, as long as the profile says and from the
# same initial seeds as the networks with the profile's settings, which are those of the chapter on fusion
# in 5 folds.

# %% tags=["hide-output"]
best = trials.chosen_settings(found, settings.training)
place = {
    "size_px": size_px,
    "folder": run.folder / "predictions",
    "seed": settings.folds.seed,
}
of_search = tuning.train_chosen(
    scored_set,
    scored_folds,
    dict.fromkeys(numbers, best[0]) if run.is_phantom else best,
    encoder=settings.encoder,
    dataset="cv5-tuned",
    **place,
)
of_profile = sweep.train_cells(
    scored_set,
    scored_folds,
    models=["intermediate"],
    profile=settings,
    dataset="cv5",
    **place,
)

# %%
bootstrap = {
    "repeats": settings.bootstrap_repeats,
    "seed": settings.folds.seed,
}
predictions = pd.concat(
    [of_search.assign(model="search"), of_profile.assign(model="profile")],
    ignore_index=True,
)
scores = evaluation.score_table(predictions, **bootstrap)
write_csv(run.folder / "tuning" / "scores.csv", scores)
rows = {"search": "found by the search", "profile": "of the profile"}
show_table(
    evaluation.paper_table(scores, rows).reset_index(names="Settings"),
    f"Intermediate fusion in {len(numbers)} folds with either settings, scored on images that had no part in their "
    f"choice; data: {run.data}.",
    "tab-tuned-scores",
    data=scores,
)

# %%
difference = comparisons.paired_difference(
    predictions, "search", "profile", **bootstrap
)
Markdown(
    difference_sentence(
        "settings found by the search minus those of the profile",
        difference,
    )
    + " The interval resamples images. It holds neither the chance in a training nor that in a search."
)

# %%
longest = trials.longest_trials(found)
low, high = longest["val_accuracy"].agg(["min", "max"])
chosen = trials.chosen_values(table)
shared = trials.settings_of_paper(table)
value = scores[scores["metric"] == "balanced_accuracy"].set_index("model")[
    "value"
]
Markdown(
    f"**Answer.** The search ends at batches of {chosen['batch size']} patches (the paper: 32), a dropout of "
    f"{chosen['dropout']} (the paper: 0.4) and an initial learning rate of {chosen['initial learning rate']} (the "
    f"paper: exponent missing in our copy). The {len(longest)} trials of "
    f"{longest['epochs'].iloc[0]} epochs, with settings as different as the figure shows, reach between {low:.2f} and {high:.2f} on validation patches"
    + ", those of all folds together"
    * (len(set(found["fold"])) > 1)
    + ". In balanced "
    f"accuracy on test images the settings found score {value['search']:.2f}, and those of the profile "
    f"{value['profile']:.2f} (difference "
    f"{interval_text(*(difference[end] for end in ('value', 'low', 'high')))})"
    + f"; the profile has the paper's {' and '.join(shared)}"
    * (len(shared) > 0)
    + ". The other chapters use the profile's settings, whatever is found here: their tables are then all of one "
    "kind, and the [leakage audit](10_leakage.ipynb) can ask how much it would flatter them to choose on the scored images."
    + " A phantom and a small network say nothing about the settings that the paper's images need."
    * run.is_phantom
)
