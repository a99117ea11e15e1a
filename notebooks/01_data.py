# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Data
#
# **Question.** Which images does this book analyse, and what is known about them beforehand?
#
# The paper images six breast cancer cell lines: 26 stacks with early endosomes, mitochondria and
# recycling endosomes, plus the nucleus, on an Airyscan microscope. Those images are closed. This
# chapter therefore simulates stacks of six *phenotypes*. A phenotype is named for what it
# looks like and stands for no cell line. What separates the phenotypes is planted, so that later
# chapters can ask whether a method finds it. Given a manifest of one's own stacks, this and the
# following chapters run on them instead.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion import (
    organelles,
    phantom,
    plots_images,
    stack_facts,
    widgets_images,
)
from organelle_fusion.config import load_profile
from organelle_fusion.intensity import stack_statistics
from organelle_fusion.manifest import open_image, validate_manifest
from organelle_fusion.pages import data_banner, open_run, show_table

settings = load_profile(profile)
run = open_run(settings, manifest)
data_banner(settings, run)

# %% [markdown]
# ## The stacks
#
# Every stack of the phantom is an OME-TIFF that carries its channel names and voxel size; ground-truth labels of
# each object lie beside it. One random stream per channel makes every channel reproducible on its
# own. Stacks that are there already and whose settings and code are unchanged are not made again.

# %%
if run.is_phantom:
    phantom.simulate_dataset(run.manifest.parent, settings.phantom)
images = run.read()
overview = validate_manifest(
    images,
    channels=settings.channels,
    n_splits=settings.folds.n_splits,
    source=run.manifest,
)

# %% [markdown]
# The class of a patch is the label of its image, and a `group` (specimen, slide or day; here the
# image) never straddles folds. The nucleus is recorded and then left out, as in the paper.

# %%
per_class = overview.groupby("label", as_index=False).agg(
    images=("image", "size"),
    groups=("group", "nunique"),
    slices=("z", "sum"),
)
show_table(per_class, f"Images per class ({run.data}).", "tab-images")

# %% [markdown]
# ## What is planted
#
# The phenotypes of the phantom differ in the length, straightness and thickness of their
# mitochondria and how close to the nucleus these lie; in the size of early endosomes, how they
# cluster and how close to the nucleus they lie; and in the size of recycling endosomes, how many of
# them gather at one place beside the nucleus, and how closely. The first table has every parameter,
# the second says what it is. Three things follow the same law in all classes: the length of a
# cell's mitochondria times their cross-section, the area that its endosomes would cover side by
# side, and the staining. The round ends of mitochondria, overlaps, size and crowding still change
# how bright a patch is on average, so that intensity carries a part of the signal, as it would in
# real cells. Each organelle has three appearances; each of them is shared by two classes that
# differ in it only slightly, and no two classes share two: one organelle finds the pair, two or
# three find the class.

# %%
planted = (
    organelles.planted_table()
    if run.is_phantom
    else pd.DataFrame({"parameter": ["nothing: own stacks"]})
)
explained = ["parameter", "unit", "meaning"]
show_table(
    planted.drop(columns=explained[1:], errors="ignore"),
    f"What separates the classes ({run.data}).",
    "tab-planted",
    data=planted,
)

# %%
show_table(
    planted[explained],
    "What these parameters are (phantom).",
    "tab-phenotypes",
) if run.is_phantom else None

# %% [markdown]
# ## How they look
#
# One image of each class, middle plane. All are drawn equally wide: compare sizes by the scale bars.

# %% mystnb={"figure": {"name": "fig-classes", "caption": "One middle plane per class; data: {data}. Top row: the organelles together; below, each organelle alone."}, "image": {"alt": "Grid of microscope planes, one column per class, composite on top and one row per organelle"}}
plots_images.stack_overview(
    stack_facts.middle_planes(images, settings.channels),
    stack_facts.pixel_sizes(overview),
    channels=settings.channels,
)

# %% [markdown]
# A plane shows a slice of a cell. The first stack can be gone through from bottom to top.

# %%
row = images.iloc[0]
volume = open_image(row).select(settings.channels)
widgets_images.stack_widget(
    volume,
    stack_statistics(volume),
    image=f"image {row['image']}, class {row['label']}",
    data=run.data,
)

# %%
Markdown(
    f"**Answer.** {len(overview)} stacks ({run.data}) in {overview['label'].nunique()} classes, "
    f"{stack_facts.size_words(overview)}. The paper: 26 stacks in six classes, 43 to 207 slices of "
    "1248 × 1248 or 1364 × 1364 pixels of 0.0353 µm."
)
