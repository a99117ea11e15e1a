# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Your own images
#
# **Question.** How do your own stacks become a data set that this book can analyse, and what can be
# wrong with them that no score would show?
#
# A network learns whatever tells the classes apart, be it cells or a zoom. It does not complain of an image that it
# is given twice, and an empty channel costs it nothing but a few points. So two commands come before any training:
# `init` writes a table of the images in a folder, and `check` looks at every voxel and lists what is wrong. This
# page runs both on stacks that were spoilt on purpose.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import json
import os
import shlex

import pandas as pd
from IPython.display import Markdown

from organelle_fusion import own_images
from organelle_fusion.config import load_profile
from organelle_fusion.pages import (
    Run,
    data_banner,
    open_run,
    results_folder,
    show_table,
)
from organelle_fusion.provenance import write_csv

settings = load_profile(profile)
folder = results_folder(settings, "spoilt")
run = Run(folder, folder / "manifest.csv", is_phantom=True)
data_banner(
    settings,
    run,
    "The spoilt stacks are the same whatever the stacks of the book; the last section takes those of the other chapters.",
)

# %% [markdown]
# ## A folder of stacks
#
# Two classes, a slide for each stack, sorted as most people sort theirs: a folder for each class, in it one for each
# slide. One file was saved from Fiji as a plain TIFF, one slide was exposed too long, and somebody saved
# a control a second time among the treated cells. All treated cells were imaged at another zoom than the controls.

# %%
own_images.write_stacks(folder)
for path in sorted((folder / "stacks").rglob("*.t*")):
    print(path.relative_to(folder))

# %% [markdown]
# ## A table to begin with
#
# `init` takes the folder's name for the label, and that of the next folder for the group: what must not be in training
# and test at once. It opens every file, and says what the files do not.

# %%
print(
    own_images.terminal(
        "organelle-fusion init stacks --output manifest.csv", folder
    )
)

# %% [markdown]
# The table is a CSV file that any spreadsheet opens, and may save with semicolons instead of commas; its encoding must
# be UTF-8, and numbers have a decimal point. Empty cells of `channel_map`, `pixel_size_um` and `z_step_um` mean that the
# file knows.

# %%
table = pd.read_csv(run.manifest, dtype=str, keep_default_na=False)
show_table(
    table[["image", "path", "label", "group", "channel_map"]],
    "The table as init wrote it, of stacks of the phantom; its last two columns, not shown, are empty.",
    "tab-template",
)

# %% [markdown]
# ## The check
#
# `check` reads every image, does not stop at the first fault, and ends with exit code 1 as long as one of them is an
# error. Warnings may be meant. They do not stop an analysis, but should be known before it.

# %% tags=["whole-output"]
print(own_images.terminal("organelle-fusion check manifest.csv", folder))

# %% [markdown]
# The last columns of its table are for the eye: sizes and data types that differ, and channels that
# are saturated. An image is saturated where more of its voxels have the largest value than the patches clip
# anyway, and they pile up there, as they do where a detector was full; at 12 or 14 bits, too.
#
# ## What the table can mend
#
# The plain TIFF needs the names of its channels and its sizes, which are in the microscope's log. The stack that was saved
# twice goes out of the table. Then the check is run again.

# %% tags=["whole-output"]
bare, copy = f"c{own_images.BARE}", f"t{own_images.COPY}"
table = table.set_index("image").drop(copy)
table.loc[bare, "channel_map"] = (
    "early_endosomes=0;mitochondria=1;recycling_endosomes=2;nucleus=3"
)
table.loc[bare, ["pixel_size_um", "z_step_um"]] = [
    f"{own_images.TAKEN.pixel_size_um}",
    f"{own_images.TAKEN.z_step_um}",
]
write_csv(run.manifest, table.reset_index())
print(own_images.terminal("organelle-fusion check manifest.csv", folder))

# %% [markdown]
# ## What only the microscope can mend
#
# The errors are gone, and one could go on; but one should not. The pixel size tells the class of every image. A network
# need not look at cells to be right, and no fold would show it, since test images have the same fault. This is no
# invention of ours: in the public measurements of endosomes of the paper's six cell lines (otccp-eea1), each line was imaged at
# one zoom only ({doc}`10_leakage`). `check` looks for such batches in pixel size, z-step, data type, image size, number of planes, file format,
# dates in names and metadata, and folders. A folder named after its class is none, as that is how everybody sorts files. With few images a
# batch can fall together with the classes by chance, so it says how often that would be.
#
# For programs, the same content comes as JSON.

# %%
output = own_images.terminal(
    "organelle-fusion check manifest.csv --json", folder
)
before = json.loads(output[output.index("{") : output.rindex("}") + 1])
batches = pd.concat(
    pd.DataFrame(found["table"]).assign(attribute=found["attribute"])
    for found in before["confounding"]
)
show_table(
    batches[["attribute", "value", "label", "images"]],
    "What tells the class of an image without a look at its cells, from the part confounding of the JSON; stacks of the phantom.",
    "tab-confounding",
)

# %% [markdown]
# The treated cells are imaged again at the zoom of the controls, and the slide that was overexposed with less light.

# %% tags=["whole-output"]
own_images.take_again(folder)
print(own_images.terminal("organelle-fusion check manifest.csv", folder))

# %% [markdown]
# ## Going on
#
# `make book MANIFEST=manifest.csv` runs this book on the stacks of a table, and
# `make plan MANIFEST=manifest.csv` says beforehand what that would take; see [](../reproducing.md). With settings of your own,
# give their profile to the check as well, `organelle-fusion check manifest.csv --profile mine.yaml`: which channels are needed, how large
# patches are and how many folds are made is said there.

# %% [markdown]
# ## The next image
#
# Once chapter 6 has trained networks, `pack` writes one of them to a file, with all that is needed to use it: the order of
# the channels, µm, scaling, classes, what its training images were like, and its own score. `predict` takes that file to other images. Here it is given one of the book's
# stacks that this network has never seen.

# %%
others = open_run(settings, manifest)
image = own_images.unseen_image(others, settings)
own_images.clear_predictions(folder)
of_run = f"--profile {shlex.quote(profile)}"
if manifest:
    path = os.path.relpath(others.manifest, folder)
    of_run += f" --manifest {shlex.quote(path)}"
print(
    own_images.terminal(
        f"organelle-fusion pack network.keras {of_run}", folder
    )
)

# %%
arguments = own_images.predict_arguments(image, folder)
print(
    own_images.terminal(
        f"organelle-fusion predict network.keras {arguments}", folder
    )
)

# %% mystnb={"figure": {"name": "fig-next-image", "caption": "Prediction for an image that the network has not seen: the plane with most patches, and a probability map of each class, from patches that overlap by half; data: {data}."}, "image": {"alt": "A plane of organelles in colour with a scale bar, beside it a map for each class, pale where its probability is high"}}
own_images.predicted_figure(folder, image, settings.channels)

# %%
show_table(
    own_images.shown_prediction(
        own_images.read_predicted(folder), image.label
    ),
    f"The row of predictions.csv, turned by a quarter, with the class that the image has; of the network and image above ({others.data}).",
    "tab-next-image",
)

# %% [markdown]
# Each image also gets its maps as OME-TIFF, its patches as a table, and a report on one page that opens without a network
# (`predictions/<image>/report.html`). What is refused and what is warned of is on the page [](../reproducing.md).

# %% tags=["hide-input"]
output = own_images.terminal(
    "organelle-fusion check manifest.csv --json", folder
)
after = json.loads(output[output.index("{") : output.rindex("}") + 1])
Markdown(
    "**Answer.** By two commands and the cells of a table. `check` listed every fault of these "
    f"{len(table) + 1} stacks at once; with the table mended, {before['errors']} errors and "
    f"{before['warnings']} warnings were left, and with images taken again {after['errors']} and "
    f"{after['warnings']}. What no score would have shown is the zoom: it gives away "
    f"the class of {before['confounding'][0]['told']} of {before['confounding'][0]['images']} images, where guessing "
    f"gets {before['confounding'][0]['commonest']} right."
)
