# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Planted truth
#
# **Question.** Where the truth is known because it was planted, what can each fusion see, and what
# can each explanation be trusted for?
#
# In cells nobody knows why a class looks as it does, so an explanation can only be believed. In
# phantoms we decide why. Three kinds are used here: one in which only the *contact* of organelles
# tells the class, ones in which only *one organelle* does, and one in which *nothing* does.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown, display

from organelle_fusion import (
    comparisons,
    contacts,
    earlier,
    folds,
    more_contacts,
    naming,
    phantom,
    planted,
    preprocessing,
    sweep,
)
from organelle_fusion.config import JOINED, load_profile, use_backend
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import (
    data_banner,
    difference_sentence,
    open_run,
    show_table,
)
from organelle_fusion.patchset import PatchSet, check_manifest
from organelle_fusion.plots_handcrafted import level_figure
from organelle_fusion.plots_planted import named_figure, removal_figure
from organelle_fusion.predictions import Cell, load_weights
from organelle_fusion.provenance import write_csv
from organelle_fusion.reference_results import beside_reference
from organelle_fusion.repository import project_root
from organelle_fusion.sources import SourceUnavailable
from organelle_fusion.wording import title

settings = load_profile(profile)
use_backend(settings)
run = open_run(settings, manifest)
if not run.is_phantom:
    raise SourceUnavailable(
        "nothing is planted in one's own stacks; make the book without a manifest to see this chapter"
    )
data_banner(
    settings, run, "Each table and figure names the phantom it shows."
)

# %%
size_px, seed = settings.patches.size_px, settings.folds.seed
training = {"size_px": size_px, "seed": seed}
bootstrap = {"repeats": settings.bootstrap_repeats, "seed": seed}
channels = list(settings.channels)
NOTHING = planted.NOTHING

# %% [markdown]
# ## Which fusion sees contacts
#
# In the contact phantom every organelle by itself looks alike in all three classes: each cell has mitochondria of
# one law, and endosomes of one law sit on mitochondrial networks of which more or fewer are shown. The class is how
# many of the endosomes lie on a shown network: none, half or all. Patches are not filtered as sparse here, since the
# area that all organelles cover together shrinks where they overlap, and would tell the class.
#
# Intermediate fusion averages each organelle's features over the patch before it joins them. With a linear head, its
# score would be a sum of parts that each see one organelle, and could not know of contacts at all. Its head has a hidden layer,
# and an average over a patch keeps traces of places, so theory does not forbid it to learn them; whether it does is
# asked of the data. Early and spatial fusion can compare places directly.
#
# Named before the scores were known: the differences of early and of spatial fusion to intermediate
# fusion should lie above 0 with their whole intervals, and spatial minus early fusion above −0.10. With ResNet50 encoders and
# stacks of full resolution the last should lie above −0.03; that is asked of the reference run, below.

# %% tags=["hide-output"]
of_contact = read_manifest(
    phantom.simulate_dataset(
        run.folder / "contact", settings.phantom, variant="contact"
    )
)
touching, *_ = preprocessing.build_patch_set(
    of_contact,
    channels=channels,
    settings=settings.patches.model_copy(update={"min_foreground": 0.0}),
    output_px=settings.encoder.input_px,
)
split = folds.make_folds(touching.table, **settings.folds.model_dump())
place = {"folder": run.folder / "contact" / "predictions", **training}
seen = sweep.train_cells(
    touching,
    split,
    models=[*channels, *JOINED],
    dataset="cv5",
    profile=settings,
    **place,
)

# %% [markdown]
# Three controls ask whether intermediate fusion fails for want of something else.
#
# - *A wider head*: more hidden units to make of averages what can be made of them.
# - *Data*: the three ways to fuse, on a part of the patches as well. If it learnt contacts slowly, it would gain from the part to
#   all of them. Four times as many stacks take longer than this page may; that was measured once, and kept with the book.
# - *A coarse grid*: is what it would need still there, if only local means were kept? Each channel is averaged over the
#   blocks of a grid, and a logistic regression gets no more than the correlations between channels over the blocks. It stops
#   nothing early, and so it is trained on the validation parts too, which is more than the networks have. Of several grids, only
#   those of 7 × 7 blocks or fewer are called coarse.

# %% tags=["hide-output"]
wide = settings.training.model_copy(
    update={"dense_units": settings.planted.wide_head}
)
part = touching.take(touching.table.index % settings.planted.fewer == 0)
controls = {
    "wider": {
        "patch_set": touching,
        "models": ["intermediate"],
        "dataset": "cv5-wide-head",
        "profile": settings.model_copy(update={"training": wide}),
    },
    "fewer": {"patch_set": part, "models": JOINED, "dataset": "cv5-fewer"},
}
controlled = sweep.train_all(
    controls.items(), folds=split, profile=settings, **place
)
probe = contacts.coarse_probe(touching, split, settings.planted.grids)

# %%
share = f"1/{settings.planted.fewer} of the patches"
contact_scores = contacts.control_scores(
    [
        (seen, ""),
        (controlled["wider"], ", wide head"),
        (controlled["fewer"], f", {share}"),
        (probe, ""),
    ],
    "contact phantom",
    **bootstrap,
)
write_csv(run.folder / "contact-scores.csv", contact_scores)

# %% mystnb={"figure": {"name": "fig-contact", "caption": "Contact phantom: balanced accuracy with 95 % intervals over resampled images, folds by image. Single organelles, three ways to fuse them, intermediate fusion with a wider head, all three on fewer patches, and correlations of channels over the blocks of a grid; the dashed line is chance."}, "image": {"alt": "Dot plot of balanced accuracy by patch and by image, a row for each network and control, with interval bars and a chance line"}}
level_figure(contact_scores)

# %%
margins = {
    ("early", "intermediate"): 0.0,
    ("spatial", "intermediate"): 0.0,
    ("spatial", "early"): -0.10,
}
differences = {
    pair: comparisons.paired_difference(seen, *pair, **bootstrap)
    for pair in margins
}

# %%
write_csv(
    run.folder / "contact-differences.csv",
    contacts.margin_table(differences, margins),
)
sentences = [
    difference_sentence(
        f"{a} minus {b} fusion, contact phantom, by patch",
        found,
        margin=margins[a, b],
    )
    for (a, b), found in differences.items()
]
Markdown(
    "\n".join(f"- {sentence}" for sentence in sentences)
    + f"\n\nOf what was named before: {contacts.kept_words(differences, margins)}"
    + ". Other designs of spatial fusion were tried on phantoms and rejected by their scores "
    "([Where this book departs from the paper](../deviations.md)): its score on these phantoms may be "
    "flattered, and with it what is named here of spatial fusion."
)

# %% tags=["hide-input"]
by_patch = contact_scores.query("level == 'by patch'").set_index("row")
blind = [title(name) for name in [*channels, "intermediate"]]
Markdown(
    "By patch, chance lies "
    + contacts.where_chance_lies(by_patch, blind)
    + ". This is what intermediate fusion did in these runs, with this encoder and this amount of training; it does not show "
    "that no such network could learn contacts.\n\n"
    + contacts.control_words(
        by_patch,
        [title(name) for name in JOINED],
        ", wide head",
        f", {share}",
    )
    + " "
    + more_contacts.kept_sentence(project_root())
    + "\n\n"
    + contacts.probe_words(
        by_patch, contacts.block_um(touching, settings.planted.grids)
    )
)

# %% [markdown]
# ## With large networks, at full resolution
#
# The reference run trains ResNet50 from scratch on the contact phantom in three times as many
# pixels along each edge, on a GPU ([how](../reproducing.md)). What it has found is kept with the
# book and shown here, whatever the profile of this page.

# %%
display(
    *beside_reference(
        {"cv5": seen, "cv5-wide-head": controlled["wider"]},
        "contact",
        own=settings.name,
        name="tab-reference-contact",
        **bootstrap,
    )
)

# %% [markdown]
# ## One organelle planted, or none
#
# We now take the six classes of the ordinary phantom, but let only one organelle differ between
# them, while the others are drawn alike in all classes; in a further phantom none differs. Each
# channel of the phantom draws from a random stream of its own. So a phantom with one planted
# organelle is that channel of the ordinary phantom with the others of the null phantom, cut at the
# same places. The patches lie where the sparsity filter keeps those of the null phantom: what it
# keeps of the ordinary one depends a little on the class, since some phenotypes cover more than
# others, and would give the class away. Intermediate fusion is trained on each, in the folds of the
# chapter on five folds. Which organelle tells the class is then asked in three ways:
#
# - *Score*: a classifier of that organelle alone; of the one that is planted, that of the chapter on five folds.
# - *Grad-CAM*: the organelle's share of all that speaks for the true class, summed over its map (after ReLU).
# - *Shapley value*: the organelle's part in the logit of the true class, over all sets of organelles
#   that can be shown; the parts add up to the logit less that of a patch that shows none. What stands for an absent organelle is
#   varied: black, its mean over the training patches, or another patch. The figure has the mean, the table all three.

# %% tags=["hide-output"]
images = run.read()
nothing = read_manifest(
    phantom.simulate_dataset(
        run.folder / "null", settings.phantom, variant="null"
    )
)
null, _, _ = preprocessing.build_patch_set(
    nothing,
    channels=channels,
    settings=settings.patches,
    output_px=settings.encoder.input_px,
)
places = planted.of_images(null.table, nothing, images)
there = PatchSet(
    preprocessing.cut_places(
        places, images, channels, settings.encoder.input_px
    ),
    places,
    channels,
    null.pixel_size_um,
)
sets = planted.variants(there, null.patches)

# %% tags=["hide-output"]
full = earlier.read_patches(run, settings)
split5 = earlier.read_whole_folds(run, settings)
folders = {
    name: run.folder / f"only-{name}" / "predictions" for name in channels
}
folders[NOTHING] = run.folder / "null" / "predictions"
datasets = dict.fromkeys(channels, "cv5") | {NOTHING: "cv5-same-places"}
trainings = {
    name: {
        "patch_set": of_set,
        "models": [*channels * (name == NOTHING), "intermediate"],
        "dataset": datasets[name],
        "folder": folders[name],
    }
    for name, of_set in sets.items()
}
trained = sweep.train_all(
    trainings.items(), folds=split5, profile=settings, **training
)

# %% [markdown]
# The networks of each fold explain patches of images that they have not seen.

# %% tags=["hide-output"]
from functools import partial

from organelle_fusion import map_tests, models
from organelle_fusion.training import predict_proba

build = partial(
    models.build_model,
    "intermediate",
    channels=settings.channels,
    n_classes=len(full.classes),
    encoder=settings.encoder,
    training=settings.training,
)
build_random = partial(build, encoder=settings.encoder.without_weights())
network, fresh = build(), build_random()

# %%
asked = settings.planted
cells = {
    name: earlier.fold_cells(
        "intermediate", split5, seed, size_px=size_px, dataset=dataset
    )
    for name, dataset in datasets.items()
}
parts = []
for name, of_set in sets.items():
    for shown in planted.each_network(
        of_set, split5, network, cells=cells[name], folder=folders[name],
        per_image=asked.patches_per_image,
    ):  # fmt: skip
        found = map_tests.organelle_parts(network, shown, seed=seed)
        found = naming.part_rows(found, shown.rows, channels)
        parts.append(found.assign(planted=name))

# %% tags=["hide-input"]
singles = [
    cell
    for name in channels
    for cell in earlier.fold_cells(
        name, split5, seed, size_px=size_px
    ).values()
]
single6 = earlier.read_cells(run, singles, run.folder / "predictions", "06")
check_manifest(single6, images, "06")

# %% tags=["hide-input"]
measures = pd.concat(
    [
        naming.mean_parts(
            pd.concat(parts, ignore_index=True),
            places,
            channels,
            **bootstrap,
        ),
        naming.alone_scores(single6, trained[NOTHING], sets, **bootstrap),
    ],
    ignore_index=True,
)
write_csv(run.folder / "named.csv", measures)

# %% mystnb={"figure": {"name": "fig-named", "caption": "Which organelle is named, on phantoms in which one organelle or none tells the class: balanced accuracy of a classifier of the organelle alone, its share of the Grad-CAM mass, and its Shapley value with training means for absent organelles. Intervals are 95 %, over resampled images; folds by image. Dashed: what an organelle gets that tells nothing."}, "image": {"alt": "Three panels of dots with interval bars, a block for each planted organelle and one for none, a colour for each organelle"}}
shown_measures = [
    naming.ALONE,
    naming.SHARE,
    naming.shapley_measure("mean"),
]
named_figure(
    pd.concat(
        [measures[measures["measure"] == name] for name in shown_measures]
    )
)

# %% [markdown]
# A measure *names* an organelle if the organelle's interval lies above what one gets that tells nothing, and above the
# intervals of all others. One network per fold is asked. Verdicts near the border change with the network: two computations
# that differed in the rounding of their training alone have disagreed on an organelle of two measures. The figure says how near
# the border each is.

# %% tags=["hide-input"]
verdicts = naming.named_organelles(measures)
write_csv(run.folder / "named-organelles.csv", verdicts)
show_table(
    verdicts.pivot_table(
        index="measure",
        columns="planted",
        values="named",
        aggfunc="first",
        sort=False,
    )
    .map(title)
    .rename(columns=title)
    .reset_index(),
    "Organelle that each measure names, by what was planted (phantoms in which one organelle or none tells the class). "
    "Brackets say what stood for an absent organelle.",
    "tab-named",
)

# %% [markdown]
# Shares of a map add up to one, whether or not there is anything to see: where nothing was planted,
# some organelle has the largest share all the same. On images that were not trained on, a score can
# be at chance and a Shapley value can be zero.
#
# ## Are the maps true?
#
# Four methods give maps, in logits of the true class. Grad-CAM {cite:p}`selvaraju2017` and HiRes-CAM {cite:p}`draelos2020` look at
# the last feature map of each encoder; they agree where the maps are pooled by their mean right after, as in intermediate fusion.
# Integrated gradients {cite:p}`sundararajan2017` and occlusion {cite:p}`zeiler2014` look at the pixels of each channel, and the mean
# of the channel over the training patches stands for what is taken away. Each is put to these tests:
#
# - *Planted organelle*: share of the positive mass in the planted organelle's map, less an equal share.
# - *Mass in mask*, *pointing* {cite:p}`zhang2018`: how much of the mass of that map, and how often its highest place, lies on the
#   planted structures, less their share of the area.
#   Integrated gradients are multiplied by how far a pixel is from the mean, and so lie on bright structures by construction.
# - *Deletion, insertion* {cite:p}`petsiuk2018`: how much sooner the logit falls when places are taken away by the map than by lot, and
#   rises when they are put back.
# - *Random weights, labels by lot* {cite:p}`adebayo2018`: rank correlation with the maps of networks with fresh weights, others in each fold, and of a network
#   trained on labels drawn by lot, here on the ordinary phantom. Such networks know nothing, so that likeness to their maps is
#   likeness to the image and the architecture. The network on labels by lot is one for all images, and may have seen some of them.
# - *Another patch*: the same with the trained network's own map of another patch, which is of another image if the fold tests several. What maps have in common
#   that have nothing to do with each other is what the two above are to be compared with. Maps of one network share its habits, so
#   that the map of a network that knows nothing may be less like the trained network's than that of another patch is.
#
# Rows are to be read across with care. Each method has places of its own size, from single pixels to a few cells of a map, and
# deletion, insertion and likeness depend on it: they say whether a method is better than lot, and do not rank methods.

# %%
masks = planted.planted_masks(
    places,
    run.folder / "images",
    channels,
    settings.encoder.input_px,
)
steps = {"gradient_steps": asked.gradient_steps}

# %%
tested, curves, complete, sane = [], [], [], []
for position, name in enumerate(channels):
    for shown in planted.each_network(
        sets[name], split5, network, cells=cells[name], folder=folders[name],
        per_image=asked.patches_per_image,
    ):  # fmt: skip
        maps = map_tests.all_maps(network, shown, **steps)
        removed = map_tests.all_curves(
            network, shown, maps,
            steps=asked.removal_steps, seed=seed + len(curves),
        )  # fmt: skip
        found = map_tests.planted_tests(
            maps, removed, shown.rows,
            masks=masks[shown.rows][..., position], position=position,
        )  # fmt: skip
        tested.append(found)
        curves.append(map_tests.curve_rows(removed, shown.rows))
        complete.append(map_tests.gradient_sums(network, shown, maps))

# %% tags=["hide-input"]
complete = pd.concat(complete)
missing = (complete["attributed"] - complete["difference"]).abs()
Markdown(
    f"Integrated gradients should add up to the difference of the logits of patch and mean. In {asked.gradient_steps} steps they miss it "
    f"by {missing.median():.2g} in the median of {len(complete)} patches, and by {missing.max():.2g} at most; the difference itself "
    f"is {complete['difference'].abs().median():.2g} in the median, without its sign."
)

# %% tags=["hide-output"]
predictions_folder = run.folder / "predictions"
by_lot = planted.labels_by_lot(full, seed)
halves = folds.make_folds(
    by_lot.table, n_splits=2, validation_share=0, seed=seed
)
sweep.train_cells(
    by_lot,
    halves,
    models=["intermediate"],
    dataset="by-lot",
    folder=predictions_folder,
    profile=settings,
    only_folds=[0],
    **training,
)

# %% tags=["hide-input"]
lot_cell = Cell("by-lot", size_px, "intermediate", 0, seed)
load_weights(network, lot_cell, predictions_folder)
learnt = folds.fold_parts(halves, by_lot.table["group"], 0) == "train"
named = predict_proba(network, by_lot.patches[learnt]).argmax(axis=1)
Markdown(
    f"The network on labels by lot names {(named == by_lot.class_numbers[learnt]).mean():.0%} of the patches that it was trained on as "
    f"its labels do, where one that learnt nothing would name {1 / len(full.classes):.0%}. Nothing stops its training early, since there is "
    "nothing that would hold for other images. The nearer the two are, the more is this test one of fresh weights."
)

# %%
at_home = earlier.fold_cells("intermediate", split5, seed, size_px=size_px)
at_home_shown = planted.each_network(
    full, split5, network, cells=at_home, folder=predictions_folder,
    per_image=asked.patches_per_image,
)  # fmt: skip
for number, shown in enumerate(at_home_shown):
    own = map_tests.all_maps(network, shown, **steps)
    models.set_seed(seed + number)
    fresh.set_weights(build_random().get_weights())
    others = {"random weights": map_tests.all_maps(fresh, shown, **steps)}
    load_weights(network, lot_cell, predictions_folder)
    others["labels by lot"] = map_tests.all_maps(network, shown, **steps)
    others["another patch"] = map_tests.of_other_patches(
        own, full.table["group"].to_numpy()[shown.rows]
    )
    sane.append(map_tests.sanity_tests(own, others, shown.rows))

# %%
table = pd.concat(
    [
        map_tests.summary(pd.concat(found), of_set.table, **bootstrap)
        for found, of_set in ((tested, there), (sane, full))
    ],
    ignore_index=True,
)
write_csv(run.folder / "explanations.csv", table)
show_table(
    map_tests.printed(table),
    "Methods and tests, with 95 % intervals over images. The first five tests on phantoms in which one organelle tells the class, "
    "more is better and 0 is chance; the last three on the ordinary phantom: the less the better, and another patch is what to compare with.",
    "tab-map-tests",
    data=table,
)

# %% mystnb={"figure": {"name": "fig-removal", "caption": "Deletion and insertion: logit of the true class while places are replaced by the mean of the training patches, or brought back, in the order of the map and by lot; phantoms in which one organelle tells the class, with 95 % intervals over images. The table has the mean distance of the two lines."}, "image": {"alt": "Two rows of four panels, a row each for deletion and insertion and a panel for each method, with a solid line in the order of the map and a dashed one by lot"}}
removal = map_tests.summary(
    pd.concat(curves), places,
    by=["method", "kind", "order", "share"], **bootstrap,
)  # fmt: skip
write_csv(run.folder / "removal-curves.csv", removal)
removal_figure(
    removal.assign(method=removal["method"].map(map_tests.METHOD_TITLES))
)

# %% [markdown]
# A line that leaves the range between its two ends has taken away what speaks for the class before what speaks against it.
# Patches in between are like none that the network was trained on.

# %% tags=["hide-input"]
lines = naming.naming_words(verdicts) + map_tests.method_words(table)
Markdown(
    "**Answer.** *Contacts* (contact phantom, by patch): early fusion "
    f"{by_patch['value'][title('early')]:.2f}, spatial {by_patch['value'][title('spatial')]:.2f}, intermediate "
    f"{by_patch['value'][title('intermediate')]:.2f}, chance {by_patch['chance'].iloc[0]:.2f}. *Explanations* (phantoms in which "
    "one organelle or none tells the class):\n\n"
    + "\n".join(lines)
    + "\n\nWhat stands for an absent organelle can decide what a Shapley value finds, which is why it is varied. A "
    "measure that names an organelle where none was planted should not be asked *whether* an organelle matters, nor a "
    "method whose maps do not lie on the planted structures *where*. All of this is about phantoms, with "
    "this encoder; it tells which explanations can fail, and not that they are right on cells."
)
