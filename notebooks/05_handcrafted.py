# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # The handcrafted baseline
#
# **Question.** How well do measured features of organelle objects tell cells apart, without a
# network that sees images, and which features matter most?
#
# Part one uses a public table of early endosomes of the paper's six cell lines (otccp-eea1). They
# were measured in Imaris, in all likelihood by the study's group; the source does not say so.
# Nothing says that they come from the paper's images, and they cover only one of its three
# organelles: mitochondria and recycling endosomes enter only as the distance from each early
# endosome to the nearest of them, and contacts were not measured as objects. Nor is it known that
# the paper's Table 1 was computed from this table. Part two measures the stacks of this book.
#
# The method is OTCCP, the group's *Organelle Topology Cell Classification Pipeline*
# {cite:p}`wang2023`: 34 features of each object, and a classifier of objects.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion import (
    comparisons,
    earlier,
    evaluation,
    folds,
    forests,
    handcrafted,
    leakage,
    measuring,
    mlp,
    phantom,
    plots_handcrafted,
    protocols,
    sources,
    topologies,
)
from organelle_fusion import objects as objects_of
from organelle_fusion.cells import segment_cells
from organelle_fusion.config import load_profile, use_backend
from organelle_fusion.intensity import display_projection
from organelle_fusion.manifest import open_image, read_manifest
from organelle_fusion.pages import (
    data_banner,
    difference_sentence,
    open_run,
    results_folder,
    show_table,
)
from organelle_fusion.provenance import write_csv
from organelle_fusion.trials import candidate_settings

settings = load_profile(profile)
use_backend(settings)
run = open_run(settings, manifest)
data_banner(
    settings,
    None,
    "<b>Real measurements, and "
    + (
        "phantom.</b> Part one"
        if run.is_phantom
        else "own stacks.</b> Part one"
    )
    + " shows numbers of a public table of measured objects (otccp-eea1), part two "
    + (
        "synthetic stacks with planted truth."
        if run.is_phantom
        else f"images listed in {run.manifest.name}."
    ),
)

# %% [markdown]
# ## The 34 features
#
# Each object has 16 features of its shape (OPG), 6 of its place relative to the nucleus (NPG), and 12
# of its distances to all other objects of its organelle in the cell (DPG). The last two together say
# where it lies, and we take them for the paper's TPG, of which the paper does not list the parameters. CI is the complexity of the
# surface, BI_AA and BI_OO are ratios of edges of its upright box and of the one turned with it; formulas are at
# {py:func}`~organelle_fusion.handcrafted.object_features`.

# %%
show_table(
    pd.DataFrame(
        [
            (group, len(names), ", ".join(names))
            for group, names in handcrafted.GROUPS.items()
        ],
        columns=["group", "number", "features"],
    ),
    "Features of an object, for real and phantom data alike.",
    "tab-features",
)

# %% [markdown]
# ## Two classifiers
#
# The published pipeline has a random forest. The paper speaks of a deep neural network (DNN), of which neither layers
# nor training are given. Ours has two hidden layers (MLP), and gets each feature by its rank among the training
# objects. Its settings are searched by Hyperband on early endosomes of a second phantom, measured as in part two: three
# images of each class, two to train on and one to judge by. They are the separate images of the chapters on patch
# size and on settings, and none of those that this chapter scores. With one's own stacks there is no such phantom, and part one has the profile's settings.

# %% tags=["hide-output"]
chosen = settings.handcrafted
results = run.folder / "handcrafted"
laws = {"channels": settings.channels, "settings": chosen}
network = chosen.training
if run.is_phantom:
    other = settings.phantom.model_copy(
        update={"seed": settings.selection.seed}
    )
    separate = read_manifest(
        phantom.simulate_dataset(run.folder / "selection", other)
    )
    separate = separate.groupby("label").head(3)
    to_tune, _ = measuring.measure_images(
        separate, folder=results / "objects" / "selection", **laws
    )
    trials = topologies.tune_topology(
        to_tune,
        settings.channels[0],
        validation=separate.groupby("label").tail(1)["image"],
        training=chosen.training,
        settings=chosen.tuning,
        folder=results / "tuning",
    )
    write_csv(results / "trials.csv", trials)
    network = candidate_settings(trials, chosen.training, 1)[0]

# %%
if run.is_phantom:
    ranked = trials.sort_values("val_accuracy", ascending=False).head(3)
    ranked = ranked.drop(columns="bracket").assign(
        l2=[f"{value:.1e}" for value in ranked["l2"]]
    )
None if not run.is_phantom else show_table(
    ranked.round({"learning_rate": 4, "dropout": 2, "val_accuracy": 3}),
    f"The best three of {len(trials)} trials (phantom, second seed).",
    "tab-mlp-trials",
)

# %% [markdown]
# ## Part one: public measurements of the same cell lines
#
# ### What is in the table

# %%
absent = ""
try:
    measured, listed = sources.read_measurements("otccp-eea1")
except sources.SourceUnavailable as error:
    absent = (
        f"**otccp-eea1 is not shown: the table is not at hand.** {error}. "
        "With it, run `make chapter N=05`. Part one stays empty."
    )
Markdown(absent) if absent else None

# %%
if not absent:
    objects = pd.concat([listed, measured], axis=1)
None if absent else show_table(
    protocols.object_counts(objects),
    "Early endosomes by zoom of the microscope and cell line (real measurements, otccp-eea1).",
    "tab-objects",
)

# %% tags=["hide-input"]
if not absent:
    lines_of = objects.groupby("batch")["label"].nunique()
    chances = sorted({f"{1 / lines:.2f}" for lines in lines_of})
None if absent else Markdown(
    f"The table holds {len(objects):,} early endosomes in {objects['cell'].nunique()} cells of "
    f"{objects['image'].nunique()} images. Can whole imaging batches be left out? The answer is "
    f"{leakage.batch_answer(objects['label'], objects['batch'], 'zoom')}. "
    "So no protocol here can ask how a classifier does on a zoom that it has not seen, and a "
    "classifier that recognises the zoom has halved the problem: chance among "
    f"{objects['label'].nunique()} lines is {1 / objects['label'].nunique():.2f}, among the lines "
    f"of one zoom {' or '.join(chances)}. "
    "Scores within one zoom are the ones without this help; they do not compare lines of "
    "different zooms."
)

# %% [markdown]
# ### What cannot be used
#
# Some features are not defined for every object: Sum/PosZ divides by a position that may be 0. Such
# objects are left out, with their number and the reason, and are then no neighbours of others either.

# %%
if not absent:
    objects, report = handcrafted.drop_unusable(objects)
    objects = objects.reset_index(drop=True)
    features = handcrafted.object_features(objects)
    folder = results_folder(settings, "otccp-eea1")
    write_csv(folder / "dropped.csv", report)
None if absent else show_table(
    report,
    f"Objects left out, of {len(listed):,} (real measurements, otccp-eea1).",
    "tab-dropped",
)

# %% [markdown]
# ### Protocols
#
# *Folds by object* are the published protocol: objects of one cell are trained on and tested on. With
# *one image left out*, all objects of an image are tested by a classifier that has seen none of them.
# The forest has classes weighted inversely to their frequency and stops nothing early, so no part is set aside for
# validation.
#
# Three scores are given: of single objects, of cells, which get the mean probability of their
# objects, and of images likewise. Intervals resample images within their line, however the folds were
# made: what is uncertain is which images were taken. With two to four images of a line they are too
# narrow.

# %%
seed = settings.folds.seed
bootstrap = {"repeats": settings.bootstrap_repeats, "seed": seed}
levels = {"patch": "object", "cell": "cell vote", "image": "image vote"}
by_object = f"{chosen.object_folds} folds by object"
one_out = "one image left out"
both = (by_object, one_out)
parting = {"n_splits": chosen.object_folds, "seed": seed}
parts = {}
if not absent:
    objects["group"] = objects["image"]
    parts["all"] = objects
    for zoom, of_zoom in objects.groupby("batch"):
        parts[f"zoom {zoom}"] = of_zoom
divided = {
    (part, protocol): division
    for part, of_part in parts.items()
    for protocol, division in protocols.divide_objects(
        of_part, both, **parting
    ).items()
}

# %% [markdown]
# The subsets of features are the groups, their unions, and two more: five features of DPG are sums
# over all objects of the cell or made from them. They grow with the number of objects in the cell, and all
# objects of a cell share that number: a fingerprint of it. *All without Sums* shows what is lost
# without them, *Sums alone* what they can do.

# %% tags=["hide-cell"]
grown = {"trees": chosen.trees, "seed": seed}
few = ["All", *handcrafted.GROUPS]
groups = {**handcrafted.GROUPS, **handcrafted.FAMILIES}
found, shuffled = {part: {} for part in parts}, {}
for (part, protocol), division in divided.items():
    place = folder / "handcrafted" / part / protocol
    for name in handcrafted.SUBSETS if part == "all" else few:
        if (part, name) == ("all", "All"):
            # Its forests serve importance as well.
            shuffled[protocol] = protocols.train_objects(
                forests.predict_shuffled, features, division, groups=groups,
                shuffles=chosen.shuffles, name=name, folder=place, **grown,
            )  # fmt: skip
            predictions = protocols.as_they_are(shuffled[protocol])
        else:
            predictions = protocols.train_objects(
                forests.train_forests,
                features[list(handcrafted.SUBSETS[name])], division,
                name=name, folder=place, **grown,
            )  # fmt: skip
        found[part][protocol, name] = predictions

# %% [markdown]
# The MLP gets each group of features, those of the paper's rows (TPG) and all of them, in the same folds; it runs all its epochs, since some lines have too few images to set one aside
# for stopping early.

# %% tags=["hide-output"]
networks = {part: {} for part in parts}
for (part, protocol), division in divided.items():
    for name in [*few, "TPG"] if part == "all" else ["All"]:
        networks[part][protocol, name] = protocols.train_objects(
            mlp.train_mlps,
            features[list(handcrafted.SUBSETS[name])], division,
            name=name, folder=folder / "handcrafted" / part / protocol,
            training=network, seed=seed,
        )  # fmt: skip

# %%
if not absent:
    scored = evaluation.level_scores(
        {
            (f"{model}, {protocol}", name): frame
            for model, made in (("forest", found), ("MLP", networks))
            for (protocol, name), frame in made["all"].items()
        },
        levels,
        **bootstrap,
    )
    write_csv(folder / "handcrafted.csv", scored)
    gaps = protocols.protocol_gaps(
        found["all"], ("All", "TPG", "Sums alone"), **bootstrap
    ) | protocols.subset_gaps(
        found["all"], "All", "All without Sums", **bootstrap
    )

# %% mystnb={"figure": {"name": "fig-handcrafted", "caption": "Balanced accuracy of classifiers on real measurements of early endosomes (otccp-eea1) by subset of features, protocol, and what is scored, with 95 % intervals over resampled images. Folds by object share cells between training and testing."}, "image": {"alt": "Dot plots with interval bars, a panel per protocol and a row per subset of features, each with a mark for objects, cell votes and image votes, and a chance line"}}
None if absent else plots_handcrafted.level_figure(scored)

# %%
None if absent else show_table(
    evaluation.printed_levels(scored),
    "Balanced accuracy on real measurements (otccp-eea1). Brackets: 95 % interval; none where the images of each class are all right or all wrong, or nearly so. TPG is NPG + DPG.",
    "tab-handcrafted",
    data=scored,
)

# %% [markdown]
# ### Within each zoom alone
#
# Three lines, recorded alike as far as the zoom tells. The forest gets every group of features, the MLP all of them.

# %%
if not absent:
    of_zooms = evaluation.level_scores(
        {
            (f"{part}, {protocol}", f"{what}{name}"): frame
            for what, made in (("", found), ("MLP: ", networks))
            for part in made
            if part != "all"
            for (protocol, name), frame in made[part].items()
        },
        levels,
        **bootstrap,
    )
    write_csv(folder / "handcrafted-zooms.csv", of_zooms)

# %% mystnb={"figure": {"name": "fig-zooms", "caption": "The same within each zoom alone, a random forest, and an MLP where it says so, on real measurements (otccp-eea1)."}, "image": {"alt": "Four dot plots with interval bars, two zooms by two protocols, a row per subset of features, and chance lines"}}
None if absent else plots_handcrafted.level_figure(of_zooms)

# %% [markdown]
# ### Objects in contact
#
# The paper finds contacts between organelles the most telling. Here nothing was measured at contacts,
# but each early endosome has its distance to the nearest mitochondrion and to the nearest transferrin
# (recycling) compartment; 0 or less is contact. Are endosomes in contact easier to classify than
# others? Their features are those that they have among all objects of the cell. Fewer objects are
# harder to learn from, so they are compared with as many objects of each cell drawn at random, in
# contact or not; a difference from objects without any contact would be larger.

# %% tags=["hide-cell"]
others = ("mitochondria", "transferrin")
touching, contacts = {}, {}
if not absent:
    touching = protocols.contact_choices(objects, others, seed=seed)
near = {
    name: protocols.divide_objects(objects[rows], both, **parting)
    for name, rows in touching.items()
    if name != "all objects"
}  # fmt: skip
for protocol in both if not absent else ():
    contacts[protocol, "all objects"] = found["all"][protocol, "All"]
    for name, divisions in near.items():
        contacts[protocol, name] = protocols.train_objects(
            forests.train_forests, features, divisions[protocol], name=name,
            folder=folder / "handcrafted" / "contacts" / protocol, **grown,
        )  # fmt: skip

# %%
if not absent:
    of_contacts = evaluation.level_scores(contacts, levels, **bootstrap)
    write_csv(folder / "handcrafted-contacts.csv", of_contacts)

# %% mystnb={"figure": {"name": "fig-contacts", "caption": "Early endosomes in contact with mitochondria or transferrin compartments (distance 0 or less) against all and against as many of each cell at random: a random forest on all 34 features, real measurements (otccp-eea1). Each choice is trained and tested by itself."}, "image": {"alt": "Two dot plots with interval bars, one per protocol, a row per choice of objects, and a chance line"}}
None if absent else plots_handcrafted.level_figure(of_contacts)

# %% tags=["hide-input"]
gains = {
    f"touching {other} minus as many at random, {protocol}, by object": (
        comparisons.folding_difference(
            contacts[protocol, f"touching {other}"],
            contacts[protocol, f"as many at random ({other})"],
            **bootstrap,
        )
    )
    for other in (others if not absent else ())
    for protocol in both
}
None if absent else Markdown(
    "\n".join(f"- {difference_sentence(*gain)}" for gain in gains.items())
    + "\n\nThe random choice was drawn once; its own chance is not in the interval."
)

# %% [markdown]
# ### What the forest relies on
#
# The values of one group of features are replaced by those of another object (the same one for the
# whole group); the drop in the score is what the forest owes to that group while the other features
# stay in place. Groups that hold the same information can stand in for each other, so losses
# do not add up. The replacing values come from all objects, not from the tested image alone, where
# all would be of the right line.

# %%
if not absent:
    importance = pd.concat(
        forests.permutation_importance(frame, **bootstrap).assign(
            panel=protocol
        )
        for protocol, frame in shuffled.items()
    )
    write_csv(folder / "handcrafted-importance.csv", importance)

# %% mystnb={"figure": {"name": "fig-importance", "caption": "Loss of balanced accuracy by object when a group of features is taken from other objects: the three groups, and finer families of the same features. Random forest on all 34 features, real measurements (otccp-eea1); 95 % intervals over resampled images."}, "image": {"alt": "Two bar charts with interval bars, one per protocol, a bar per group of features"}}
None if absent else plots_handcrafted.importance_figure(importance)

# %% [markdown]
# ### The zoom in the features
#
# If features tell the zoom, they tell which three lines a cell can be of, for a reason that is not
# biology. A forest is asked for the zoom instead of the line, of images that it has not seen, in a
# few folds by image; chance is 0.5.

# %% tags=["hide-output"]
told_by = f"zoom as class, {settings.folds.n_splits} folds by image"
told = {}
if not absent:
    zooms = objects.assign(label=objects["batch"])
    split = folds.make_folds(
        zooms,
        n_splits=settings.folds.n_splits,
        validation_share=0,
        seed=seed,
    )
    for name, columns in handcrafted.ZOOM_SUBSETS.items():
        told[told_by, name] = protocols.train_objects(
            forests.train_forests, features[list(columns)],
            protocols.Division(zooms, split), name=name,
            folder=folder / "handcrafted" / "zoom-as-class", **grown,
        )  # fmt: skip

# %%
if not absent:
    of_zoom = evaluation.level_scores(told, levels, **bootstrap)
    write_csv(folder / "handcrafted-zoom-as-class.csv", of_zoom)

# %% mystnb={"figure": {"name": "fig-zoom-told", "caption": "Balanced accuracy of a random forest that predicts the zoom of an image it has not seen, by subset of features, with 95 % intervals over resampled images; real measurements (otccp-eea1)."}, "image": {"alt": "Dot plot with interval bars, a row per subset of features, with marks for objects, cell votes and image votes, and a chance line at one half"}}
None if absent else plots_handcrafted.level_figure(of_zoom)

# %% [markdown]
# One reason is plain to see. The height of an object's box along z is a whole number of planes, and
# the distance of two planes was not the same.

# %% tags=["hide-input"]
if not absent:
    steps = handcrafted.z_steps(objects)
    write_csv(folder / "z-steps.csv", steps)
    counts = steps.groupby(["batch", "step"]).size()
None if absent else Markdown(
    "The z-step of every image was found from the boxes alone, as the length that all of "
    "them are multiples of: "
    + "; ".join(
        f"{number} images of zoom {zoom} have {step:.3f} µm"
        if number > 1
        else f"1 image of zoom {zoom} has {step:.3f} µm"
        for (zoom, step), number in counts.items()
    )
    + f". No box is off a multiple by more than {steps['off'].max():.1g} steps."
)

# %% mystnb={"figure": {"name": "fig-z-step", "caption": "Heights of boxes along z, in the usual z-step of either zoom, from the nearest whole number of steps; real measurements (otccp-eea1). All in one bar: the step is that of the images."}, "image": {"alt": "Four histograms, two zooms by two steps; each zoom is concentrated at 0 for its own step and spread for the other"}}
None if absent else plots_handcrafted.remainder_figure(
    objects["bbox_aa_z_um"],
    objects["batch"],
    handcrafted.usual_steps(steps),
)

# %% [markdown]
# ### What part one says

# %% tags=["hide-input"]
if not absent:
    alone = {
        part: (f"{part}, {one_out}", "All") for part in parts if part != "all"
    }  # fmt: skip
    height = "The height of the box alone tells the zoom of an object in an image not seen:"
    told_alone = {height: (told_by, "BoxAA Z alone")}
    above = sum(gain["low"] > 0 for gain in gains.values())
    largest = max(gain["value"] for gain in gains.values())
    lines = [
        *protocols.accuracy_lines(scored, both, (*few, "Sums alone")),
        *(difference_sentence(*gap) for gap in gaps.items()),
        "Within one zoom, one image left out, All, by object: "
        f"{protocols.listed_scores(of_zooms, alone, with_chance=True)}.",
        "The group of features whose values the forest misses most: "
        f"{protocols.most_missed(importance, handcrafted.GROUPS)}.",
        f"{protocols.listed_scores(of_zoom, told_alone, with_chance=True)}.",
        "Endosomes in contact are easier to tell than as many drawn at random, in contact or not, with the whole interval above "
        f"0, in {above} of {len(gains)} comparisons, none adjusted for the others; the largest difference is "
        f"{largest:+.3f}.",
    ]
None if absent else Markdown(
    "**In numbers.** Balanced accuracy, of forests unless an MLP is named, on the public measurements (otccp-eea1; chance "
    f"{scored['chance'].iloc[0]:.2f}, 95 % intervals in brackets):\n\n"
    + "\n".join(f"- {line}" for line in lines)
    + "\n\nFolds by object test whether an object's own cell is recognised; only images left out say what to "
    "expect of new images, and even there a line may be recognised by its zoom. With one organelle in "
    f"{objects['image'].nunique()} images, this is neither the paper's Table 1 nor a check of it."
)

# %% [markdown]
# ## Part two: stacks measured
#
# Here the baseline starts where the networks start, from raw stacks, and is scored in the same folds. The published
# pipeline makes its objects in commercial software, inside outlines drawn by hand; this is an open stand-in.
#
# Cells are found by their nuclei: a watershed shares the cytoplasm out among them, up to a given reach from the nucleus, and
# cells that touch the border of the image are left out. In each cell every organelle is resampled to isotropic voxels,
# smoothed, and cut half-way between what is dark and what is bright in it: for objects larger than the spot of the
# microscope this is where their border lies. Connected voxels are one object, with a mesh for its surface. A contact is what lies of
# one organelle in a shell of one and a half voxels around another, and is measured as an object again.

# %% tags=["hide-output"]
patch_table = earlier.read_patches(run, settings).table
images = run.read()
images = images[images["image"].isin(patch_table["image"])]
obstacle = measuring.measuring_obstacle(images)
contact_kinds = measuring.contact_kinds(settings.channels)
kinds = {f"otccp_{name}": [name] for name in settings.channels} | {
    "otccp_contacts": contact_kinds
}
names = {
    model: line.removeprefix("OTCCP: ")
    for model, line in evaluation.paper_rows(settings.channels).items()
    if model in kinds
}
if not obstacle:
    stacks, dropped = measuring.measure_images(
        images, folder=results / "objects" / "cv5", **laws
    )
    if stacks.empty:
        obstacle = "No image holds a whole cell with objects in it."

# %%
Markdown(
    f"**Nothing is measured.** {obstacle}"
    if obstacle
    else f"Images with patches: {len(images)}; with a whole cell or more, {stacks['image'].nunique()}; "
    f"whole cells in all: {stacks['cell'].nunique()}."
)

# %% mystnb={"figure": {"name": "fig-cells", "caption": "Cells that are measured in one image, with the outlines of their nuclei (dotted); maximum projection, data: {data}."}, "image": {"alt": "Composite of the organelles, each in a colour, with a white outline around each whole cell"}}
if not obstacle:
    held = images[images["image"].isin(stacks["image"])]
    row = held.iloc[min(2, len(held) - 1)]
    volume = open_image(row)
    cells = segment_cells(
        volume, settings.channels, reach_um=chosen.cell_reach_um
    )
    projection = display_projection(volume.select(settings.channels))
None if obstacle else plots_handcrafted.cells_figure(
    projection, cells.labels, cells.nuclei, volume.pixel_size_um
)

# %% mystnb={"figure": {"name": "fig-objects", "caption": "One plane of the first cell above: each organelle with the outlines of its objects, and the contacts between objects; data: {data}."}, "image": {"alt": "A grey picture with orange outlines for each organelle, and one of coloured objects with white contacts"}}
if not obstacle:
    fields, labels = objects_of.cell_pictures(
        volume, settings.channels, cells, 1,
        voxel_um=chosen.voxel_um, min_volume_um3=chosen.min_volume_um3,
    )  # fmt: skip
None if obstacle else plots_handcrafted.objects_figure(
    {name: fields[name] for name in settings.channels},
    {kind: one for kind, one in labels.items() if kind != "nucleus"},
    chosen.voxel_um,
)

# %%
None if obstacle else show_table(
    topologies.measured_table(
        stacks, [kind for of_model in kinds.values() for kind in of_model]
    ),
    f"Objects measured ({run.data}).",
    "tab-measured",
)

# %%
None if obstacle else show_table(
    topologies.left_out_table(dropped),
    f"What was left out, and why ({run.data}).",
    "tab-left-out",
)

# %% [markdown]
# On the phantom the objects that were planted are known. Those that lie closer to each other than the microscope resolves are
# measured as one, and dim ones beside bright ones are missed, as they would be in real stacks.

# %%
if run.is_phantom and not obstacle:
    planted = measuring.count_planted(
        images.groupby("label").head(1),
        run.manifest.parent / "labels",
        **laws,
    )
(
    show_table(
        topologies.planted_table(planted, stacks),
        f"Objects planted and measured in the cells of one image of each class ({run.data}).",
        "tab-planted-objects",
    )
    if run.is_phantom and not obstacle
    else None
)

# %% [markdown]
# ### The same folds as the networks
#
# As in the paper, topological parameters (TPG) of objects go into a network; one for each organelle, and one for the
# contacts of every two organelles, which is told which two. Its settings are those found above on the phantom; for one's
# own stacks they are searched inside every fold, on its training and validation images, with the objects of the first organelle that
# can be classified, and serve all networks of the fold.
#
# The folds are those of the networks, images whole: those of the chapter on five folds, and as many again with each of several further
# seeds. The chapter on thirty folds shows all of them in Table 2. An object is in no patch, so there are no folds by patch for it. Where a fold
# tests an image without a whole cell, that image is missing here.

# %% tags=["hide-output"]
folding = settings.folds.model_dump()
splits = {
    own: folds.make_folds(patch_table, **folding | {"seed": own})
    for own in range(seed, seed + settings.many_folds.repeats)
}
tables, left_out = {}, pd.DataFrame()
if not obstacle:
    tables, left_out = topologies.class_topologies(
        stacks, kinds, splits.values()
    )
runs = topologies.train_repeats(
    tables,
    splits,
    training=network,
    tuning=None if run.is_phantom else chosen.tuning,
    folder=results,
)

# %% tags=["hide-input"]
missing = [names[model] for model in kinds if model not in tables]
None if obstacle else Markdown(
    "Objects without features, of those measured: "
    + (
        "; ".join(
            f"{row.objects} ({names[row.model]}: {row.reason})"
            for row in left_out.itertuples()
            if row.objects
        )
        or "none"
    )
    + "."
    + f" Not classified, since in some fold no image that is trained on holds such objects of some class: {', '.join(missing)}."
    * bool(missing)
)

# %%
once = runs[0]
pooled = {
    model: pd.concat([frames[model] for frames in runs], ignore_index=True)
    for model in once
}
scores = topologies.level_tables(
    {"once": once, "repeated": pooled}, levels, **bootstrap
)
write_csv(results / "scores.csv", scores)

# %%
None if not once else show_table(
    evaluation.paper_table(
        scores.query("level == 'object' and grouping == 'once'"),
        {model: names[model] for model in kinds if model in once},
    ).reset_index(),
    f"TPG classifiers, {settings.folds.n_splits} folds by image, scored by object ({run.data}).",
    "tab-topology",
    data=scores,
)

# %% [markdown]
# ### Contacts, where contacts are all there is
#
# In the *contact* phantom every organelle by itself has one law in all three classes; only whether endosomes sit on the
# mitochondria that are shown differs. If the measured contacts are contacts, they alone must tell the classes. Half of its
# images are measured here, with at least one of each class for every fold.

# %% tags=["hide-output"]
touching = {}
if run.is_phantom and not obstacle:
    of_contact = read_manifest(
        phantom.simulate_dataset(
            run.folder / "contact", settings.phantom, variant="contact"
        )
    )
    per_class = of_contact["label"].value_counts().min()
    of_contact = of_contact.groupby("label").head(
        max(per_class // 2, settings.folds.n_splits)
    )
    meeting, _ = measuring.measure_images(
        of_contact, folder=results / "objects" / "contact", **laws
    )
    split = folds.make_folds(of_contact, **folding)
    tables, _ = topologies.class_topologies(meeting, kinds, [split])
    touching = topologies.train_topologies(
        tables, split, training=network, dataset="contact", seed=seed,
        folder=results / "predictions",
    )  # fmt: skip

# %%
compared = {run.data: once, "contact phantom": touching}
panels = {
    (panel, names[model]): frame
    for panel, frames in compared.items()
    for model, frame in frames.items()
}
if panels:
    measured_scores = evaluation.level_scores(panels, levels, **bootstrap)
    write_csv(results / "levels.csv", measured_scores)
differences = topologies.contact_differences(compared, levels, **bootstrap)

# %% mystnb={"figure": {"name": "fig-topology", "caption": "Balanced accuracy of networks on topological parameters, by what is measured and what is scored, with 95 % intervals over resampled images, folds by image; data: {data}, and beside the phantom the contact phantom, whose classes differ in contacts alone."}, "image": {"alt": "Two dot plots with interval bars, a row for each organelle and one for contacts, with marks for objects, cell votes and image votes, and chance lines"}}
plots_handcrafted.level_figure(measured_scores) if panels else None

# %% [markdown]
# ### What part two says

# %% tags=["hide-input"]
lines = [difference_sentence(*one) for one in differences.items()]
if touching:
    lines += topologies.control_lines(
        measured_scores.query("panel == 'contact phantom'"), names[topologies.CONTACTS]
    )  # fmt: skip
Markdown(
    f"**Answer.** {obstacle}"
    if obstacle
    else "**Answer.** Balanced accuracy of measured stacks, folds by image; the public measurements are "
    "summed up at the end of part one:\n\n"
    + (
        "\n".join(f"- {line}" for line in lines)
        or "Contacts cannot be compared with single organelles: too little of either was measured in these images."
    )
    + "\n\nThe best single organelle is chosen anew in each resample. Chance flatters the best of several, so "
    "these differences are biased against contacts."
    * bool(differences)
    + "\n\nOn the contact phantom it is known that contacts alone tell the classes: there the measured contacts are put to the "
    "test. Whether contacts tell cancer cells apart, a phantom cannot say."
    * run.is_phantom
)
