# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Patch size
#
# **Question.** How large should a patch be, and is there something to be learned from patches
# smaller than a cell?
#
# The paper searches seven sizes with intermediate fusion in 5 folds and takes the one that scores
# best (Fig. 8). A size chosen on the images that are scored flatters the score; here the choice is
# made on separate images, and the curve of the scored images stands beside it. The paper also saw a dip
# at 300 px. To see whether it came from where the patches happened to lie, it made data sets of rotated images and
# evaluated them with "the same intermediate fusion classifier"; whether that was trained again, and at which sizes, it does not
# say. This chapter repeats the whole search on rotated images.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import math

import pandas as pd
from IPython.display import Markdown

from organelle_fusion import (
    comparisons,
    evaluation,
    folds,
    phantom,
    plots_images,
    preprocessing,
    rotation,
    scorecard,
    significance,
    sweep,
    widgets_maps,
)
from organelle_fusion.config import (
    load_profile,
    paper_px_to_um,
    use_backend,
)
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.pages import (
    class_size_sentence,
    data_banner,
    difference_sentence,
    open_run,
    score_words,
    show_table,
)

settings = load_profile(profile)
use_backend(settings)
run = open_run(settings, manifest)
images = run.read()
size_px, sizes = settings.patches.size_px, settings.patches.sizes_px
data_banner(settings, run)

# %% [markdown]
# ## Patches of every size
#
# A larger patch sees more of a cell, but there are fewer of them, and all are averaged down to the
# same input of the encoder. Each image gives at most the same number of patches at every size, so
# that the sizes differ in what a patch shows and hardly in how many there are to train on. They differ in one more
# thing: a grid of large patches may leave a wide border unused, so that it shows less of the image. First all patches
# are listed; the pixels of a size are cut when it is trained.

# %%
grid = {"channels": settings.channels, "settings": settings.patches}
cut = {**grid, "output_px": settings.encoder.input_px}
tabulated = preprocessing.tabulate_patches(images, sizes_px=sizes, **grid)
table = tabulated.table
kept = table[table["kept"]]
own_size = kept[kept["paper_px"] == size_px]

# %% [markdown]
# ## The curve of the scored images
#
# One set of folds serves all sizes, since it is the images that are divided. The networks of the
# profile's own size are those of the chapter on fusion in 5 folds, and are trained once for both.

# %% tags=["hide-output"]
split = folds.make_folds(own_size, **settings.folds.model_dump())
training = {
    "models": ["intermediate"],
    "profile": settings,
    "folder": run.folder / "predictions",
    "seed": settings.folds.seed,
}
scored = sweep.train_sizes(
    preprocessing.each_patch_set(images, tabulated, **cut),
    split,
    dataset="cv5",
    **training,
)

# %% [markdown]
# ## The choice on separate images
#
# A second phantom of the same laws, from another seed, shares no image with the one that is scored.
# It is divided into fewer folds, to save time; every image is tested once there as well. For one's
# own stacks there are no such images: the size is then the profile's, and the curve only
# describes.

# %% tags=["hide-output"]
as_they_are = f"scored images, {settings.folds.n_splits} folds"
apart = (
    f"separate images, {settings.selection.n_splits} folds"
    if run.is_phantom
    else ""
)
predictions = {as_they_are: scored}
if run.is_phantom:
    other = settings.phantom.model_copy(
        update={"seed": settings.selection.seed}
    )
    separate = read_manifest(
        phantom.simulate_dataset(run.folder / "selection", other)
    )
    listed = preprocessing.tabulate_patches(
        separate, sizes_px=sizes, **grid
    )
    separate_split = folds.make_folds(
        listed.table.query("kept and paper_px == @size_px"),
        **settings.folds.model_dump()
        | {"n_splits": settings.selection.n_splits},
    )
    predictions[apart] = sweep.train_sizes(
        preprocessing.each_patch_set(separate, listed, **cut),
        separate_split,
        dataset="selection",
        **training,
    )

# %% [markdown]
# ## The same images, rotated
#
# Turning a whole image before it is cut moves every patch to another place in the cells and leaves the cells
# as they are. If a size does badly because of where its patches happened to lie, it should do better
# on rotated copies. Planes are turned about their middle, which resamples them; corners that come from outside are filled with
# the mirrored image. The folds are those above, and the share of a plane that the grid covers stays.

# %% tags=["hide-output"]
turned = {
    angle: f"scored images rotated by {angle:g}°"
    for angle in settings.patches.rotations_deg
}
for angle, name in turned.items():
    copies = read_manifest(
        rotation.rotate_dataset(
            images,
            run.folder / f"rotated-{angle:g}",
            degrees=angle,
            channels=settings.channels,
        )
    )
    listed = preprocessing.tabulate_patches(copies, sizes_px=sizes, **grid)
    predictions[name] = sweep.train_sizes(
        preprocessing.each_patch_set(copies, listed, **cut),
        split,
        dataset=f"cv5-rotated-{angle:g}",
        **training,
    )

# %%
bootstrap = {
    "repeats": settings.bootstrap_repeats,
    "seed": settings.folds.seed,
}
curves = pd.concat(
    [
        evaluation.score_tables(of_set, "size_px", **bootstrap).assign(
            images=name, size_um=lambda t: paper_px_to_um(t["size_px"])
        )
        for name, of_set in predictions.items()
    ],
    ignore_index=True,
).query("metric == 'balanced_accuracy'")

# %% mystnb={"figure": {"name": "fig-patch-size", "caption": "Balanced accuracy of intermediate fusion against patch size, with 95 % intervals over resampled images (Fig. 8 of the paper): the scored images as they are and rotated, and separate images; data: {data}. Below, one cell and the patch of each size, to one scale."}, "image": {"alt": "Curves of balanced accuracy over seven patch sizes, one for each set of images, with interval bars and a chance line; below, seven pictures of one cell with a square of growing size"}}
first = images.iloc[0]
volume = open_image(first).select(settings.channels)
middle = volume.shape[1] // 2
outline, whole_um2 = None, math.nan
if run.is_phantom:
    truth = phantom.simulate_stack(
        first["label"], index=0, settings=settings.phantom
    )
    outline = phantom.largest_cell(truth.cells[middle])
    whole_um2 = (
        phantom.median_cell_area(truth.cells[middle])
        * volume.pixel_size_um**2
    )
chance = evaluation.chance_levels(
    own_size["label"], sorted(own_size["label"].unique())
)
drawing = {
    "plane": display_plane(volume, middle, stack_statistics(volume)),
    "outline": outline,
    "pixel_size_um": volume.pixel_size_um,
}
plots_images.patch_size_figure(
    curves, chance["balanced_accuracy"], **drawing
)

# %% tags=["hide-input"]
widgets_maps.patch_size_widget(
    curves,
    chance["balanced_accuracy"],
    **drawing,
    own_px=size_px,
    used=kept["paper_px"].value_counts().to_dict(),
    data=run.data,
)

# %% [markdown]
# The table sets the yield of preprocessing (Fig. 7 of the paper) beside the scores: patches cut, left
# by the sparsity filter, and, after the limit per image, used; and the share of the planes that the grid covers.

# %%
found = preprocessing.patch_yield(table)
covered = preprocessing.covered_share(table, images)
cells = curves.assign(
    score=[
        significance.interval_text(row.value, row.low, row.high, sign="")
        for row in curves.itertuples()
    ]
).pivot_table(
    index="size_px", columns="images", values="score", aggfunc="first"
)
yields = found.assign(
    size_um=found["size_um"].round(2),
    covered=[f"{covered[size]:.0%}" for size in found["size_px"]],
    attrition=[f"{share:.1%}" for share in found["attrition"]],
    used=[(kept["paper_px"] == size).sum() for size in found["size_px"]],
)
show_table(
    yields.join(cells[list(predictions)], on="size_px").rename(
        columns={"size_px": "size (paper px)", "size_um": "size (µm)"}
    ),
    f"Patch sizes: yield on the scored images, and balanced accuracy of intermediate fusion ({run.data}).",
    "tab-patch-size",
)

# %% tags=["hide-input"]
Markdown(
    f"The grid covers between {covered.min():.0%} ({covered.idxmin()} px) and {covered.max():.0%} ({covered.idxmax()} px) of the "
    "planes. A curve over the sizes therefore mixes two things, what a patch shows and how much of each image is seen."
    if covered.max() > covered.min()
    else f"The grid covers {covered.max():.0%} of the planes at every size."
)

# %% [markdown]
# ## What the sizes tell
#
# Three of the paper's claims rest on this curve: a peak at 350 px (C5), a dip at 300 px that stays on rotated images
# (C6), and that patches smaller than a cell suffice (C13). Differences are taken in the same resampled
# images. The best of several rivals is chosen anew in each resample and flattered there, so that the last difference leans
# against the profile's size.

# %% tags=["hide-input"]
Markdown(class_size_sentence(own_size))

# %%
rest = [size for size in sizes if size != size_px]
peak = {
    f"{size_px} px minus {words}": comparisons.size_difference(
        scored, [size_px], others, **bootstrap
    )
    for words, others in (
        (f"the smallest size, {sizes[0]} px", sizes[:1]),
        (f"the largest size, {sizes[-1]} px", sizes[-1:]),
        ("the best of all other sizes", rest),
    )
}
dip = {}
if {250, 300, 350} <= set(sizes):
    dip = {
        f"mean of 250 and 350 px minus 300 px, {name}": comparisons.size_difference(
            predictions[name], [250, 350], [300], **bootstrap
        )
        for name in (as_they_are, *turned.values())
    }
Markdown(
    "\n".join(
        f"- {difference_sentence(words, difference)}"
        for words, difference in {**peak, **dip}.items()
    )
)

# %%
on_scored = curves[curves["images"] == as_they_are].set_index("size_px")
smallest = on_scored.loc[sizes[0], ["value", "low", "high"]].to_dict()
fall = 1 - found["kept"].iloc[-1] / found["kept"].iloc[0]
lost = comparisons.attrition_difference(
    table, sizes[0], sizes[-1], **bootstrap
)
findings = [
    *(
        scorecard.finding(
            "C5", words, difference, reference=0, data=run.data
        )
        for words, difference in peak.items()
        if size_px == 350  # the claim is on this size
    ),
    *(
        scorecard.finding(
            "C6", words, difference, reference=0, data=run.data
        )
        for words, difference in dip.items()
    ),
    scorecard.finding(
        "C7",
        f"share of the patches at {sizes[0]} px that is missing at {sizes[-1]} px",
        fall,
        reference=0,
        sense="apart",
        data=run.data,
    ),
    scorecard.finding(
        "C7",
        f"share removed at {sizes[0]} px minus that at {sizes[-1]} px",
        lost,
        reference=0,
        sense="apart",
        data=run.data,
    ),
    scorecard.finding(
        "C13",
        f"balanced accuracy at {sizes[0]} px ({paper_px_to_um(sizes[0]):.1f} µm)",
        smallest,
        # Only where cells are known can a patch be known to be smaller.
        reference=chance["balanced_accuracy"]
        if paper_px_to_um(sizes[0]) ** 2 < whole_um2
        else math.nan,
        data=run.data,
    ),
]
scorecard.write_findings(run.folder, "03", findings)

# %%
best = int(on_scored["value"].idxmax())
answer = (
    f"On the scored images {best} px score best ({on_scored.loc[best, 'value']:.2f}); "
    f"{size_px} px score {on_scored.loc[size_px, 'value']:.2f}. "
)
if run.is_phantom:
    on_separate = curves[curves["images"] == apart].set_index("size_px")
    chosen = int(on_separate["value"].idxmax())
    answer += (
        f"Chosen on separate images, the size would be {chosen} px; what it scores on the images "
        f"that had no part in the choice is {on_scored.loc[chosen, 'value']:.2f}. "
    )
if dip:
    found_dip = [
        name for name, difference in dip.items() if difference["low"] > 0
    ]
    answer += (
        f"A dip at 300 px shows, with its whole interval, in {len(found_dip)} of {len(dip)} curves of the scored "
        "images, as they are and rotated. "
    )
inside = ""
if not math.isnan(whole_um2):
    inside = f", {paper_px_to_um(sizes[0]) ** 2 / whole_um2:.0%} of the median area of a whole cell in the plane above"
Markdown(
    f"**Answer.** {answer}The smallest patch, {paper_px_to_um(sizes[0]):.1f} µm wide{inside}, scores "
    f"{score_words(smallest)} "
    f"against a chance of {chance['balanced_accuracy']:.2f}. The following chapters use "
    f"{size_px} px, whatever is chosen here."
    + " It is the paper's size, so that their tables are those of the paper."
    * (size_px == 350)
    + " Whether the phantom has a peak or a dip says nothing on cell lines."
    * run.is_phantom
)
