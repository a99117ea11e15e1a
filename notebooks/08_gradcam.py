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
from functools import partial

from IPython.display import Markdown

from organelle_fusion.config import load_profile, use_backend
from organelle_fusion.wording import title

settings = load_profile(profile)
use_backend(settings)

from organelle_fusion import (
    earlier,
    evidence,
    models,
    plots_maps,
    scorecard,
    similarity,
    widgets_maps,
)
from organelle_fusion.metrics import probability_columns
from organelle_fusion.pages import (
    data_banner,
    open_run,
    show_table,
)
from organelle_fusion.patchset import check_manifest
from organelle_fusion.provenance import write_csv
from organelle_fusion.whole_images import (
    WITHOUT_SPARSE,
    explain_images,
    time_stack,
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
size_px, seed = settings.patches.size_px, settings.folds.seed
stored = run.folder / "predictions"
split = earlier.read_whole_folds(run, settings)
cells = earlier.fold_cells("intermediate", split, seed, size_px=size_px)
predictions = earlier.read_cells(run, cells.values(), stored, "06")
check_manifest(predictions, images, "06")
build = partial(
    models.build_model,
    "intermediate",
    channels=settings.channels,
    n_classes=len(probability_columns(predictions)),
    encoder=settings.encoder,
    training=settings.training,
)
build_random = partial(build, encoder=settings.encoder.without_weights())

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
# its step.) The last row and column are moved inwards, so the border is covered. Each map is
# enlarged to its square, and where squares overlap, their weighted mean is taken. A map has few cells per
# square, so that it tells regions apart and not single organelles.

# %%
first_of_class = images.groupby("label")["image"].first()
explained = explain_images(
    images,
    predictions,
    build,
    build_random,
    profile=settings,
    cells=cells,
    folder=stored,
    random_seeds=range(seed, seed + 3),
    shown=set(first_of_class),
)

# %% [markdown]
# One image of each class, the first of the manifest. Colours show what speaks *for* the class (after
# ReLU), and all maps of one image share one scale, so that an organelle that matters little stays dark.
# A place without organelles can be bright. That something is missing there may speak for a class, or it
# is extrapolation: squares that the sparsity filter would drop are explained as well, though no network was
# trained on such squares. They are hatched. The prediction beside the class is that for the whole image.

# %% mystnb={"figure": {"name": "fig-gradcam-tiles", "caption": "Grad-CAM of intermediate fusion on squares side by side (Fig. 6 of the paper, without overlap); data: {data}. One image per class, middle plane, explained by the network that tested it. First column: the organelles together; then each organelle in grey under its map; last, their mean under the fused map. Colours are shares of the largest value in the row. Hatched: squares that the sparsity filter drops."}, "image": {"alt": "Grid of microscope planes, one row per class: the composite, each organelle with its heat map, and the fused heat map, in square tiles"}}
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
Markdown(evidence.sparse_sentence(explained.evidence))

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
found = similarity.similarity_table(
    explained.similarity,
    explained.randomised,
    repeats=settings.bootstrap_repeats,
    seed=seed,
)
show_table(
    similarity.similarity_lines(found),
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
timed = time_stack(build(), images.iloc[0], settings)
Markdown(
    f"{timed.patches} patches of one stack ({run.data}) were cut and classified in {timed.seconds:.2f} s by networks of "
    f"the {settings.encoder.kind} encoder."
)

# %% tags=["hide-input"]
main = "overlapping"
scorecard.write_findings(
    run.folder,
    "08",
    [
        *similarity.similarity_findings(found, main, data=run.data),
        scorecard.finding(
            "C11",
            f"inference for {timed.patches} patches of one stack, {settings.encoder.kind} encoder, s",
            timed.seconds,
            data=run.data,
        ),
    ],
)

# %% [markdown]
# ## The answer
#
# How much of what speaks for the class does each organelle have, do its maps resemble those of the
# others, and is that likeness learnt? Shares add up to one whether or not an organelle tells
# anything: chapter 11 tests whether the largest is that of what was planted.

# %%
shares = evidence.organelle_shares(
    explained.evidence.query("squares == @main"),
    settings.channels,
    repeats=settings.bootstrap_repeats,
    seed=seed,
)
write_csv(run.folder / "gradcam-shares.csv", shares)
dense = similarity.similarity_of(
    found, similarity.TRAINED, similarity.WITH_OTHERS, WITHOUT_SPARSE
)
without_sparse = "; ".join(
    f"{value:.2f} for {title(name)}"
    for name, value in dense["value"].items()
)
Markdown(
    f"**Answer.** {evidence.shares_sentence(shares)} The figures show where it lies. "
    f"On overlapping squares, {similarity.others_sentence(found, main)} "
    + (
        f"Without sparse squares these correlations are {without_sparse}. "
        if without_sparse
        else ""
    )
    + f"{similarity.learnt_sentence(found, main)} {similarity.closest_sentence(found, main)} "
    "The paper reports mitochondria, for its six cell lines."
    + (
        " All of this is about the phantom, not about cancer cells."
        * run.is_phantom
    )
)
