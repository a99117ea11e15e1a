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
# chapter therefore simulates 26 stacks over six *phenotypes*. A phenotype is named for what it
# looks like and stands for no cell line. What separates the phenotypes is planted, so that later
# chapters can ask whether a method finds it. Given a manifest of one's own stacks, this and the
# following chapters run on them instead.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %%
from IPython.display import Markdown

from organelle_fusion import phantom, plots
from organelle_fusion.book import data_banner, open_run, show_table
from organelle_fusion.config import load_profile
from organelle_fusion.intensity import display_plane, stack_statistics
from organelle_fusion.manifest import open_image, validate_manifest

settings = load_profile(profile)
run = open_run(settings, manifest)
data_banner(run)

# %% [markdown]
# ## The stacks
#
# Every stack is an OME-TIFF that carries its channel names and voxel size; ground-truth labels of
# each object lie beside it. One random stream per channel makes every channel reproducible on its
# own. Stacks that are there already and whose settings and code are unchanged are not made again.

# %%
if run.is_phantom:
    phantom.simulate_dataset(run.manifest.parent, settings.phantom)
images = run.read()
overview = validate_manifest(
    images, channels=settings.channels, n_splits=settings.folds.n_splits, source=run.manifest
)

# %% [markdown]
# The class of a patch is the label of its image, and a `group` (specimen, slide or day; here the
# image) never straddles folds. The nucleus is recorded and then left out, as in the paper.

# %%
per_class = overview.groupby("label", as_index=False).agg(
    images=("image", "size"), groups=("group", "nunique"), slices=("z", "sum")
)
show_table(per_class, f"Images per class ({run.data}).", "tab-images")

# %%
first = overview.iloc[0]
Markdown(
    f"{len(overview)} stacks in {overview['label'].nunique()} classes; {overview['z'].min()} to "
    f"{overview['z'].max()} slices of {first['y']} × {first['x']} pixels; "
    f"{overview['pixel_size_um'].iloc[0]:.4f} µm per pixel. The paper has 26 stacks of 43 to 207 "
    "slices, 1248 or 1364 pixels wide, at 0.0353 µm per pixel."
)

# %% [markdown]
# ## How they look
#
# One image of each class, middle plane.

# %% mystnb={"figure": {"name": "fig-classes", "caption": "One middle plane per class; data: {data}. Top row: the three organelles together; below, each organelle alone."}, "image": {"alt": "Grid of microscope planes, one column per class, composite on top and one row per organelle"}}
planes = {}
for label, row in images.groupby("label").first().iterrows():
    volume = open_image(row).select(settings.channels)
    planes[label] = display_plane(volume, volume.shape[1] // 2, stack_statistics(volume))
plots.stack_overview(planes, volume.pixel_size_um, channels=settings.channels)
