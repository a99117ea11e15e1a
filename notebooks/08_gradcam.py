# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where the network looks
#
# **Question.** Which places in which organelle speak for the class, and do the maps of one organelle
# resemble the map of all organelles together?
#
# The paper shows Grad-CAM of intermediate fusion over whole images, per organelle and fused, with and
# without overlap of the patches (Fig 6), and reports that mitochondrial maps resemble the fused ones.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import time
from functools import partial

import numpy as np
import pandas as pd
from IPython.display import Markdown

from organelle_fusion.config import (
    load_profile,
    paper_px_to_um,
    title,
    use_backend,
)

settings = load_profile(profile)
use_backend(settings)

from organelle_fusion import (
    folds,
    models,
    plots_maps,
    scorecard,
    similarity,
    widgets_maps,
)
from organelle_fusion.intensity import stack_statistics
from organelle_fusion.manifest import open_image
from organelle_fusion.metrics import probability_columns
from organelle_fusion.pages import (
    data_banner,
    open_run,
    score_words,
    show_table,
)
from organelle_fusion.patches import extract_patches, patch_table
from organelle_fusion.patchset import check_manifest
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.significance import interval_text
from organelle_fusion.training import predict_proba
from organelle_fusion.whole_images import (
    WITHOUT_SPARSE,
    explain_images,
    sparse_shares,
)

run = open_run(settings, manifest)
images = run.read()
data_banner(settings, run)

# %% [markdown]
# ## Networks
#
# Nothing is trained here. Each image is explained by the network of the fold that tested it: one that
# saw neither this image nor any other of its group, in training or in validation. The networks are those
# of intermediate fusion in [5 folds by image](06_fusion_cv5.ipynb).

# %%
split = folds.read_folds(
    run.require(
        run.folder / "folds" / f"cv{settings.folds.n_splits}.csv", "06"
    )
)
size_px, seed = settings.patches.size_px, settings.folds.seed
stored = run.folder / "predictions"
cells = {
    fold: Cell("cv5", size_px, "intermediate", fold, seed)
    for fold in sorted(split["fold"].unique().tolist())
}
predictions = read_predictions(
    run.require(cell.path(stored), "06") for cell in cells.values()
)
check_manifest(predictions, images, "06")
columns = probability_columns(predictions)
classes = [name.removeprefix("p:") for name in columns]
build = partial(
    models.build_model,
    "intermediate",
    channels=settings.channels,
    n_classes=len(classes),
    encoder=settings.encoder,
    training=settings.training,
)

# %% [markdown]
# ## Maps
#
# Grad-CAM {cite:p}`selvaraju2017` weights the features of the last convolutional layer by how much each
# raises the score of a class. The score is the *logit of the true class*, not its probability, which
# would mix in the evidence for all other classes. Intermediate fusion has one encoder per organelle, so
# there is one map per organelle, and all are in the same units. The fused map is Grad-CAM of the joined
# features, which is the sum of the organelles' maps; how the paper fuses them is not stated.
#
# The middle plane of each stack is covered by squares of the size of a patch, cut, scaled and averaged
# down as for training: side by side, and then with a step of half a square. (The paper does not give
# its step.) The last row and column are moved inwards, so that the border is covered. Each map is
# enlarged to its square, and where squares overlap, their weighted mean is taken. A map has few cells per
# square, so that it tells regions apart and not single organelles.

# %%
explained = explain_images(
    images,
    predictions,
    build,
    profile=settings,
    cells=cells,
    folder=stored,
    random_seeds=range(seed, seed + 3),
)
first_of_class = images.groupby("label")["image"].first()

# %% [markdown]
# One image of each class, the first of the manifest. Colours show what speaks *for* the class (after
# ReLU), and all maps of one image share one scale, so that an organelle that matters little stays dark.
# A place without organelles can be bright. That something is missing there may speak for a class, or it
# is extrapolation: squares that the sparsity filter would drop are explained as well, though no network was
# trained on such squares. They are hatched. The prediction beside the class is that for the whole image.

# %% mystnb={"figure": {"name": "fig-gradcam-tiles", "caption": "Grad-CAM of intermediate fusion on squares side by side (Fig. 6 of the paper, without overlap); data: {data}. One image per class, middle plane, explained by the network that tested it. First column: the organelles together; then each organelle in grey under its map; last, their mean under the fused map. Colours are shares of the largest value in the row. Hatched: squares that the sparsity filter drops."}, "image": {"alt": "Grid of microscope planes, one row per class: the composite, three organelles with a heat map each, and the fused heat map, in square tiles"}}
plots_maps.gradcam_figure(
    [explained.planes["side by side"][name] for name in first_of_class],
    channels=settings.channels,
)

# %% mystnb={"figure": {"name": "fig-gradcam-overlap", "caption": "The same images on squares that overlap by half (Fig. 6 of the paper, with overlap); data: {data}. Columns, colours and hatching as before: there every square over a place is one that the filter drops."}, "image": {"alt": "The same grid of planes and heat maps, smooth where the tiles were blended"}}
plots_maps.gradcam_figure(
    [explained.planes["overlapping"][name] for name in first_of_class],
    channels=settings.channels,
)

# %% tags=["hide-input"]
widgets_maps.gradcam_widget(
    {
        squares: [planes[name] for name in first_of_class]
        for squares, planes in explained.planes.items()
    },
    channels=settings.channels,
    data=run.data,
)

# %% tags=["hide-input"]
lines = []
for squares, of_squares in explained.planes.items():
    area, heat = sparse_shares(of_squares)
    lines.append(
        f"where squares are {squares}, sparse ones alone cover {area:.0%} of the planes of all images"
        + (
            f", with {heat:.0%} of what speaks for the class in the fused maps"
            if pd.notna(heat)
            else ""
        )
    )
Markdown(f"{'; '.join(lines).capitalize()}.")

# %% [markdown]
# ## Does one organelle resemble the fused map?
#
# The fused map contains each organelle's map, and a part resembles its whole even where it has nothing in
# common with the rest, the strongest part most of all. So the question is put in two ways. The correlation
# with the sum of the *other* organelles' maps is free of this; the one with the fused map is what the eye
# compares. Both are Pearson's over the pixels of a plane, before ReLU, averaged over all images; brackets
# hold the 95 % interval of a bootstrap that resamples groups within their class.
#
# A correlation above 0 is no sign of anything learnt by itself: the maps of all organelles are of the same
# squares and go through one head. How much these alone give is shown by networks of the same architecture
# that have learnt nothing {cite:p}`adebayo2018`: their weights are drawn anew, several times, and all
# images are explained again. What the trained network shows beyond the mean of these on the *same image*
# is the last column, and it alone can be put down to learning. Rows without sparse squares leave out the
# places that are hatched above.

# %%
measured = {
    "trained": explained.similarity,
    "random weights": explained.randomised,
    "trained − random": similarity.excess_similarity(
        explained.similarity, explained.randomised
    ),
}
found = pd.concat(
    similarity.mean_similarity(
        group, repeats=settings.bootstrap_repeats, seed=seed
    ).assign(squares=squares, network=name)
    for name, rows in measured.items()
    for squares, group in rows.groupby("squares", sort=False)
)
cell_text = [
    interval_text(row.value, row.low, row.high, "")
    for row in found.itertuples()
]
table = found.assign(
    text=cell_text, organelle=found["organelle"].map(title)
).pivot_table(
    index=["squares", "compared_with", "organelle"],
    columns="network",
    values="text",
    aggfunc="first",
    sort=False,
)
show_table(
    table.reset_index(),
    f"Correlation of each organelle's map with others, mean over images ({run.data}).",
    "tab-gradcam",
    data=found,
)

# %%
Markdown(
    f"{explained.similarity['image'].nunique()} images; weights drawn "
    f"{explained.randomised['seed'].nunique()} times. An image in which a map is constant is left out. The intervals "
    "cover the choice of images, not that of planes, of the random start of the trained network or of the "
    "weights drawn."
    + (
        " Where the data are the phantom, this says nothing about cell lines."
        * run.is_phantom
    )
)

# %% [markdown]
# ## How long it takes
#
# The paper states 2 s of inference for a full image. Here all patches of one stack that the sparsity
# filter keeps are cut and classified by a network of the architecture above, which is the profile's.

# %%
volume = open_image(images.iloc[0]).select(settings.channels)
statistics = stack_statistics(volume)
table = patch_table(
    volume,
    paper_px_to_um(size_px),
    min_foreground=settings.patches.min_foreground,
    statistics=statistics,
)
network = build()
predict_proba(network, np.zeros((1, *network.input_shape[1:]), np.uint8))
started = time.perf_counter()  # after what is compiled once
patches = extract_patches(
    volume,
    table,
    output_px=settings.encoder.input_px,
    statistics=statistics,
)
predict_proba(network, patches)
seconds = time.perf_counter() - started
Markdown(
    f"{len(patches)} patches of one stack ({run.data}) were cut and classified in {seconds:.2f} s by networks of "
    f"the {settings.encoder.kind} encoder."
)

# %%
main = {
    key: rows.set_index("organelle")
    for key, rows in found.query("squares == 'overlapping'").groupby(
        ["network", "compared_with"]
    )
}
others = main["trained", similarity.WITH_OTHERS]
fused = main["trained", similarity.WITH_FUSED]
null = main["random weights", similarity.WITH_OTHERS]
null_fused = main["random weights", similarity.WITH_FUSED]
excess = main["trained − random", similarity.WITH_OTHERS]
excess_fused = main["trained − random", similarity.WITH_FUSED]
dense = found[
    (found["squares"] == WITHOUT_SPARSE)
    & (found["network"] == "trained")
    & (found["compared_with"] == similarity.WITH_OTHERS)
]
more = [title(name) for name in excess.index[excess["low"] > 0]]
less = [title(name) for name in excess.index[excess["high"] < 0]]
best, best_null = fused["value"].idxmax(), null_fused["value"].idxmax()

# %% tags=["hide-input"]
scorecard.write_findings(
    run.folder,
    "08",
    [
        *(
            scorecard.finding(
                "C8",
                f"map of {title(row.Index)}: correlation with the joint map of the other organelles",
                row._asdict(),
                data=run.data,
            )
            for row in others.itertuples()
        ),
        *(
            scorecard.finding(
                "C8",
                f"map of {title(row.Index)}: this correlation less that of random weights",
                row._asdict(),
                data=run.data,
            )
            for row in excess.itertuples()
        ),
        scorecard.finding(
            "C11",
            f"inference for {len(patches)} patches of one stack, {settings.encoder.kind} encoder, s",
            seconds,
            data=run.data,
        ),
    ],
)

# %% [markdown]
# ## The answer
#
# Do the maps of one organelle resemble those of the others, and is it the network that makes them alike?

# %%
Markdown(
    "**Answer.** On overlapping squares, each map correlates with the sum of the other organelles' maps "
    + "at "
    + "; ".join(
        f"{score_words(row._asdict())} for {title(row.Index)}, "
        f"where networks with random weights give {null['value'][row.Index]:.2f}"
        for row in others.itertuples()
    )
    + ". "
    + (
        "Without sparse squares these correlations are "
        + "; ".join(
            f"{row.value:.2f} for {title(row.organelle)}"
            for row in dense.itertuples()
        )
        + ". "
        if len(dense)
        else ""
    )
    + (
        f"The map{'s' * (len(more) > 1)} of {' and '.join(more)} "
        f"resemble{'s' * (len(more) == 1)} the others more than under random weights"
        if more
        else "No map resembles the others more than under random weights"
    )
    + (
        f"; {'that' if len(less) == 1 else 'those'} of {' and '.join(less)} "
        f"{'does' if len(less) == 1 else 'do'} so less"
        if less
        else ""
    )
    + " (image by image, intervals of the difference that leave 0 out)"
    + f". Against the fused map, its own part included, that of {title(best)} is closest, at "
    f"{score_words(fused.loc[best])}. Networks with random weights give "
    f"{null_fused['value'][best]:.2f} for it, and what the trained ones have beyond that is "
    f"{interval_text(*excess_fused.loc[best, ['value', 'low', 'high']])}. "
    + (
        "It is the closest with random weights as well, so that which map is closest is no sign of what was learnt. "
        if best == best_null
        else f"With random weights it is that of {title(best_null)} that is closest. "
    )
    + "The paper reports mitochondria, for its six cell lines."
    + (
        " All of this is about the phantom, not about cancer cells."
        * run.is_phantom
    )
)
