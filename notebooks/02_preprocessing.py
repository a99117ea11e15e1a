# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Preprocessing
#
# **Question.** How does a stack become patches, and how many of them are left?
#
# The paper cuts each stack into planes and each plane into square patches, thresholds the whole
# stack by Otsu's method, and discards patches with too little foreground (Methods, "Patch sampling
# and sparsity filtering"; Figs 1 and 7).

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion import (
    intensity,
    patches,
    plots_images,
    preprocessing,
    scorecard,
    size_search,
    stack_facts,
    widgets_images,
)
from organelle_fusion.config import load_profile, paper_px_to_um
from organelle_fusion.manifest import open_image
from organelle_fusion.pages import data_banner, open_run, show_table

settings = load_profile(profile)
run = open_run(settings, manifest)
images = run.read()
size_px = settings.patches.size_px
data_banner(settings, run)

# %% [markdown]
# ## Thresholds
#
# The paper states a *global* Otsu threshold from the entire three-dimensional image. Whether it is
# one threshold per channel is not said; stains differ in brightness, so here each channel has its
# own. A pixel is foreground where its value exceeds the threshold.

# %% mystnb={"figure": {"name": "fig-otsu", "caption": "Intensity histogram of one whole stack per organelle and its Otsu threshold; data: {data}."}, "image": {"alt": "A histogram for each organelle, on logarithmic count axes, with a vertical line at the Otsu threshold"}}
volume = open_image(images.iloc[0]).select(settings.channels)
statistics = intensity.stack_statistics(volume)
plots_images.otsu_figure(
    intensity.binned_histograms(volume, statistics),
    statistics.set_index("channel")["otsu"].to_dict(),
)

# %% [markdown]
# ## From a plane to patches
#
# The patch is a physical length: the paper's 350 pixels are 12.37 µm, and a coarser image takes
# fewer pixels for the same field of view. The grid starts at the upper left corner; what is left
# over at the right and lower border is not used. The foreground ratio of a patch is the share of
# its pixels in the mask of any organelle. The paper does not give its cut-off. Of the planes of
# this stack that keep a patch, the one shown has the share of dropped patches nearest to one half.

# %% mystnb={"figure": {"name": "fig-pipeline", "caption": "Preprocessing, worked on one plane (Fig. 1 of the paper); data: {data}. Plane, patch grid, organelle masks, patches kept and dropped, and examples of kept patches."}, "image": {"alt": "A composite plane, the same plane with a grid, its organelle masks, the kept and dropped patches, and six example patches"}}
table = patches.patch_table(
    volume,
    paper_px_to_um(size_px),
    min_foreground=settings.patches.min_foreground,
    statistics=statistics,
)
plane = stack_facts.half_dropped_plane(table)
on_plane = table[table["z"] == plane]
thresholds = statistics["otsu"].to_numpy()[:, None, None]
plots_images.pipeline_figure(
    intensity.display_plane(volume, plane, statistics),
    volume.plane(plane) > thresholds,
    on_plane,
    patches.extract_patches(
        volume,
        on_plane,
        output_px=settings.encoder.input_px,
        statistics=statistics,
    ),
    channels=settings.channels,
    pixel_size_um=volume.pixel_size_um,
)

# %% [markdown]
# Both cut-offs decide which patches are left. Here they can be moved, on the same plane.

# %%
widgets_images.threshold_widget(
    volume.plane(plane),
    statistics["otsu"].to_numpy(),
    size_px=on_plane["size_px"].iloc[0],
    min_foreground=settings.patches.min_foreground,
    channels=settings.channels,
    pixel_size_um=volume.pixel_size_um,
    shown=intensity.display_plane(volume, plane, statistics),
    data=run.data,
)

# %% [markdown]
# ## All images
#
# Every patch of every image is listed, kept or not, with the reason; the patches that are kept are
# scaled per image and channel, and resized by area averaging to the encoder's input.

# %%
patch_set, table, statistics = preprocessing.build_patch_set(
    images,
    channels=settings.channels,
    settings=settings.patches,
    output_px=settings.encoder.input_px,
)
patch_set.save(run.folder / "patches" / f"{size_px}px")

# %%
fates = table.assign(fate=table["reason"].replace("", "used"))
show_table(
    pd.crosstab(fates["label"], fates["fate"]).reset_index(),
    f"Patches of {size_px} paper pixels per class, and what became of them ({run.data}).",
    "tab-patches",
)

# %% [markdown]
# Patches are dropped for two reasons: *sparse* ones hold too little foreground, and of the others
# an image gives no more than the profile allows, if it sets a limit, so that no image outweighs the
# rest.
#
# How long this takes is measured with one image, alone, in one process: the file is read, thresholds and foreground are taken,
# and all patches that the filter leaves are cut, whatever the limit of the profile.

# %%
seconds = preprocessing.seconds_of_one(
    next(images.itertuples(index=False)),
    channels=settings.channels,
    settings=settings.patches,
    output_px=settings.encoder.input_px,
)

# %%
first = images["image"].iloc[0]
widgets_images.montage_widget(
    volume,
    table[table["image"] == first],
    statistics[statistics["image"] == first],
    settings.patches,
    data=run.data,
)

# %% [markdown]
# ## Patch size against yield
#
# Larger patches are fewer as a rule, and the share that the filter removes depends on the size (Fig 7). Neighbouring sizes can
# tie, where as many of either fit across a plane. What is left over at the border is not used, so that the sizes
# also cover different shares of a plane.

# %% mystnb={"figure": {"name": "fig-attrition", "caption": "Patches extracted and kept, and attrition, for each patch size (Fig. 7 of the paper); data: {data}."}, "image": {"alt": "Bars of extracted and kept patches per patch size, and a line with the share removed"}}
tabulated = preprocessing.tabulate_patches(
    images,
    channels=settings.channels,
    settings=settings.patches,
    sizes_px=settings.patches.sizes_px,
)
found = preprocessing.patch_yield(tabulated.table)
plots_images.attrition_figure(found)

# %%
covered = preprocessing.covered_share(tabulated.table, images)
shown = size_search.yield_lines(tabulated.table, covered)
show_table(
    shown,
    "Patches extracted and kept by the filter, the share removed, the share of the planes that the grid covers, and how many are used within "
    f"the limit per image, per patch size ({run.data}).",
    "tab-attrition",
    data=found.assign(
        covered=covered[found["size_px"]].to_numpy(), used=shown["used"]
    ),
)

# %% tags=["hide-input"]
voxels = int(pd.Series(volume.shape[1:]).prod())
scorecard.write_findings(
    run.folder,
    "02",
    stack_facts.time_findings(seconds, voxels, run.data),
)

# %%
small, large = found.iloc[0], found.iloc[-1]
Markdown(
    f"**Answer.** At {paper_px_to_um(size_px):.2f} µm, {len(patch_set.table):,} of {len(table):,} "
    f"patches enter the analysis. From {small['size_px']:.0f} to {large['size_px']:.0f} paper "
    f"pixels the number of patches left by the filter goes from {small['kept']:,.0f} to "
    f"{large['kept']:,.0f}, and the share it removes goes from {small['attrition']:.1%} to "
    f"{large['attrition']:.1%}. One image of "
    f"{' × '.join(str(n) for n in volume.shape[1:])} voxels took {seconds:.{2 if seconds < 1 else 1}f} s in one process of this machine; the paper "
    "states about 4 s for a full image; its images have 43 to 207 planes of 1248 × 1248 pixels or more."
)
