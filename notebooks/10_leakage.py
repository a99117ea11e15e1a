# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Leakage
#
# **Question.** How much does a score owe to folds that part images, and to choices made on the data
# that are scored?
#
# Patches of one image share its cells, its staining and its focus. A network that has seen some of
# them can know the image again, and with it the label. The same data are divided here in several
# ways. Where nothing can be learnt, on a phantom whose classes do not differ, whatever a score has
# above chance is leakage.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion import (
    coverage,
    evaluation,
    folds,
    forests,
    leakage,
    phantom,
    plots_leakage,
    preprocessing,
    selection,
    sources,
    sweep,
)
from organelle_fusion.config import load_profile, use_backend
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import (
    class_size_sentence,
    data_banner,
    difference_sentence,
    open_run,
    results_folder,
    show_table,
)
from organelle_fusion.patchset import PatchSet, check_manifest
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import write_csv
from organelle_fusion.significance import interval_text
from organelle_fusion.trials import (
    SEARCHED,
    candidate_settings,
    read_trials,
)

settings = load_profile(profile)
use_backend(settings)
run = open_run(settings, manifest)
images = run.read()
size_px, many = settings.patches.size_px, settings.many_folds
patch_set = PatchSet.load(
    run.require(run.folder / "patches" / f"{size_px}px", "02"),
    images,
)
of_every_size = [
    run.require(
        Cell("cv5", size, "intermediate", fold, settings.folds.seed).path(
            run.folder / "predictions"
        ),
        "03",
    )
    for size in settings.patches.sizes_px
    for fold in range(settings.folds.n_splits)
]
of_trials = run.require(run.folder / "tuning" / "trials.csv", "04")
data_banner(
    settings,
    None,
    "<b>Phantom and real data.</b> Every panel and table names what it shows. Public crops "
    "(mcf10a-mcf7) and measurements (otccp-eea1) appear as numbers only."
    if run.is_phantom
    else "<b>Own stacks, and public data.</b> Every panel and table names what it shows. Public "
    "crops (mcf10a-mcf7) and measurements (otccp-eea1) appear as numbers only.",
)

# %% [markdown]
# ## What folds cannot do
#
# Two statements need no experiment.

# %% tags=["hide-input"]
unit = "image" if (images["group"] == images["image"]).all() else "group"
n_splits = settings.folds.n_splits
per_class = images.groupby("label")["group"].nunique()
whole = images["group"].nunique()
lacking = (n_splits - per_class).clip(lower=0)
lacking = lacking[lacking > 0]
Markdown(
    f"There are {whole} {unit}s ({run.data}) in {len(per_class)} classes, {per_class.min()} to "
    f"{per_class.max()} in a class.\n\n"
    + (
        f"- **{many.n_splits} folds cannot each keep {unit}s whole.** Each test part needs one of its own "
        f"at least, and every {unit} is tested once: {whole} {unit}s fill {whole} test parts, and "
        f"{many.n_splits - whole} would be empty. {many.n_splits} folds over {whole} {unit}s part "
        f"{unit}s, or they are repeats of fewer folds.\n"
        if many.n_splits > whole
        else f"- **{many.n_splits} folds can keep {unit}s whole**, since there are as many {unit}s or more.\n"
    )
    + (
        f"- **Some test parts must lack a class.** A class of k {unit}s lies in k of {n_splits} test parts "
        f"at most, however they are drawn, so that {n_splits} − k or more lack it: "
        + ", ".join(f"{name} {count}" for name, count in lacking.items())
        + ". Scores are therefore computed on the pooled test parts of all folds.\n"
        if len(lacking)
        else f"- **No test part need lack a class**, since every class has {n_splits} {unit}s or more.\n"
    )
    + "\nIn the paper, which has 26 images in six classes, 30 folds cannot each keep an image whole, and in 5 folds "
    "some test part must lack a class: thirty is more than 26, and 26 over six leave four images or fewer "
    "in some class."
)

# %% [markdown]
# ## The same images, divided in five ways
#
# The network is early fusion, the cheapest that sees all organelles.
#
# - *By patch*: every patch is a group of its own, and neighbours in one plane are trained on and
#   tested on.
# - *By z-slab*: each image is cut into stretches of planes, with planes left out between two.
#   Neighbours in a plane stay together, but a cell reaches through the gap, and the image is the
#   same.
# - *One left out*: every image is tested in a fold of its own.
# - *Repeated and single folds by image*, as in the chapters on fusion.
#
# The first three have many folds, each of which tests little, and train for fewer epochs, so that the
# number of steps is about that of the few folds; where planes are left out, for as many more as patches are
# missing. Leaving one out is what the other two are measured against, since it keeps images whole.
#
# It is no clean control. Where whole images are tested, and set aside for validation, the class that is
# tested loses a larger share than the others; where patches are divided, all lose about alike. The table
# says for each way on which share of the patches its networks are trained. What folds by patch score
# above leaving one out is leakage *and* this lost share, and cannot be told apart by the difference.
#
# So, with the phantom, the same is done where nothing can be learnt. The null phantom has the same number
# of images, each of which is drawn with its own staining, and its classes are names only. A score above
# chance is leakage there, whatever the share. Differences are not read there: with less of its class in training
# than of the others, an image is taken for one of the others, and leaving one out can score below chance.
# One's own stacks have no such counterpart.

# %%
data = run.data
sets = {data: patch_set}
folders = {data: run.folder / "predictions"}
if run.is_phantom:
    nothing = read_manifest(
        phantom.simulate_dataset(
            run.folder / "null", settings.phantom, variant="null"
        )
    )
    sets["null phantom"], _, _ = preprocessing.build_patch_set(
        nothing,
        channels=settings.channels,
        settings=settings.patches,
        output_px=settings.encoder.input_px,
    )
    folders["null phantom"] = run.folder / "null" / "predictions"

# %%
seed = settings.folds.seed
divided = settings.folds.model_dump()
early = {"models": ["early"], "size_px": size_px}
brief = settings.model_copy(
    update={
        "training": settings.training.model_copy(
            update={"epochs": many.epochs}
        )
    }
)
results, shares = {}, {}

# %% tags=["hide-output"]
by_patch = f"{many.n_splits} folds by patch"
for name, of_set in sets.items():
    parted = of_set.split_groups()
    split = folds.make_folds(
        parted.table, **divided | {"n_splits": many.n_splits}
    )
    shares[name, by_patch] = coverage.training_coverage(
        [split], parted.table, of_set.table
    )
    results[name, by_patch] = sweep.train_cells(
        parted,
        split,
        dataset=f"cv{many.n_splits}-by-patch",
        profile=brief,
        folder=folders[name],
        seed=seed,
        **early,
    )

# %% tags=["hide-output"]
by_slab = f"{many.n_splits} folds by z-slab"
slabs, gap = settings.leakage.slabs, settings.leakage.guard_planes
deep_enough = {
    name: of_set.planes.min() >= slabs + gap * (slabs - 1)
    for name, of_set in sets.items()
}
for name in [name for name in sets if deep_enough[name]]:
    parted = sets[name].split_slabs(slabs, gap)
    share = len(parted.table) / len(sets[name].table)
    as_long = settings.training.model_copy(
        update={"epochs": round(many.epochs / share)}
    )
    split = folds.make_folds(
        parted.table, **divided | {"n_splits": many.n_splits}
    )
    shares[name, by_slab] = coverage.training_coverage(
        [split], parted.table, sets[name].table
    )
    results[name, by_slab] = sweep.train_cells(
        parted,
        split,
        dataset=f"cv{many.n_splits}-by-slab",
        profile=settings.model_copy(update={"training": as_long}),
        folder=folders[name],
        seed=seed,
        **early,
    )

# %% tags=["hide-output"]
one_out = f"one {unit} left out, {whole} folds"
inner = {"validation_share": settings.folds.validation_share}
for name, of_set in sets.items():
    split = folds.leave_one_group_out(of_set.table, seed=seed, **inner)
    shares[name, one_out] = coverage.training_coverage(
        [split], of_set.table, of_set.table
    )
    results[name, one_out] = sweep.train_cells(
        of_set,
        split,
        dataset="leave-one-out",
        profile=brief,
        folder=folders[name],
        seed=seed,
        **early,
    )

# %% tags=["hide-output"]
repeated = f"{many.repeats} × {n_splits} folds by {unit}"
once = f"{n_splits} folds by {unit}"
seeds = range(seed, seed + many.repeats)
trainings = {
    (name, own): {
        "patch_set": of_set,
        "folds": folds.make_folds(of_set.table, **divided | {"seed": own}),
        "folder": folders[name],
        "seed": own,
    }
    for name, of_set in sets.items()
    for own in seeds
}
of_seeds = sweep.train_all(
    trainings.items(), dataset="cv5", profile=settings, **early
)
for name in sets:
    results[name, repeated] = pd.concat(
        [of_seeds[name, own] for own in seeds]
    )
    results[name, once] = of_seeds[name, seed]
for name, of_set in sets.items():
    for grouping, used in ((repeated, seeds), (once, [seed])):
        shares[name, grouping] = coverage.training_coverage(
            [trainings[name, own]["folds"] for own in used],
            of_set.table,
            of_set.table,
        )

# %% tags=["hide-input"]
Markdown(
    f"However folds were cut, intervals resample whole {unit}s: what is uncertain is which were taken. "
    + class_size_sentence(images)
)

# %%
bootstrap = {"repeats": settings.bootstrap_repeats, "seed": seed}
units = {
    by_patch: "parted",
    by_slab: "slab",
    **dict.fromkeys((one_out, repeated, once), "whole"),
}
scored = leakage.leakage_table(
    {
        (name, grouping): leakage.with_groups(frame, sets[name].table)
        for (name, grouping), frame in results.items()
    },
    dict.fromkeys(sets, one_out),
    **bootstrap,
)
write_csv(run.folder / "leakage.csv", scored)

# %% mystnb={"figure": {"name": "fig-leakage", "caption": "Balanced accuracy of early fusion by the way the folds were made, with 95 % intervals over resampled images; data: {data}. Beside the phantom stands a null phantom, whose classes do not differ, so that whatever it has above chance is leakage."}, "image": {"alt": "Dot plot with interval bars, a panel per data set and a row per way to make folds, from folds that part images to folds that keep them whole, and a chance line"}}
plots_leakage.leakage_figure(scored, units)

# %%
show_table(
    leakage.printed(scored, one_out).assign(
        **coverage.shown_shares(
            shares[row.data, row.grouping] for row in scored.itertuples()
        )
    ),
    f"Early fusion by the way the folds were made ({', '.join(sets)}). Brackets: 95 % interval. "
    "Last: share of all patches, and of those of the class that is tested, that is trained on.",
    "tab-leakage",
    data=scored.join(
        pd.DataFrame(
            [
                shares[row.data, row.grouping]._asdict()
                for row in scored.itertuples()
            ]
        )
    ),
)

# %% tags=["hide-input"]
depth = patch_set.planes
Markdown(
    f"For z-slabs, {slabs} stretches of planes with {gap} left out between two, every image needs "
    f"{slabs + gap * (slabs - 1)} planes with patches. "
    + (
        f"The images have {depth.min()} to {depth.max()}."
        if deep_enough[data]
        else f"{depth.idxmin()} has {depth.min()}, so that folds by z-slab are left out."
    )
)

# %% [markdown]
# ## Choosing on the data that are scored
#
# Who tries several patch sizes or settings and reports the best score has chosen on the test data,
# and the score is flattered: the best of several is best by luck as well. The choice is *nested* if
# each outer fold chooses by its own validation part, which it has in any case, and is scored on its
# test part. Both choices are made here among the same trainings; the difference between their
# scores is what choosing on the test data adds.
#
# Its interval resamples images and makes the non-nested choice anew in each resample, while the
# nested choices, made before any test image was seen, stand. The best of several is flattered in a
# resample once more, so that the interval leans towards a larger difference: read it for how large
# the difference may be, not for whether there is one.
#
# Patch sizes are those of the chapter on patch size, with intermediate fusion; nothing is trained
# for them.

# %%
of_sizes = read_predictions(of_every_size)
check_manifest(of_sizes, images, "03")
choices = {
    f"patch size, {data}": selection.compare_choices(
        of_sizes, "size_px", **bootstrap
    )
}

# %% [markdown]
# Settings are the best trials of the chapter on tuning. They are trained with early fusion, in the
# same folds by image, and on the null phantom too: no setting is better than another there, and
# whatever a choice gains is luck.
# On one's own stacks that search has seen all images, fold by fold, so that even the nested score
# is flattered a little.

# %% tags=["hide-output"]
trials = read_trials(of_trials)
candidates = candidate_settings(
    trials, settings.training, settings.leakage.candidates
)
trainings = {
    (name, number): {
        "patch_set": of_set,
        "folds": folds.make_folds(of_set.table, **divided),
        "dataset": f"candidate-{number}",
        "profile": settings.model_copy(update={"training": training}),
        "folder": folders[name],
    }
    for number, training in enumerate(candidates, start=1)
    for name, of_set in sets.items()
}
of_candidates = sweep.train_all(
    trainings.items(), profile=settings, seed=seed, **early
)
tried = {
    name: [of_candidates[name, k + 1] for k in range(len(candidates))]
    for name in sets
}

# %%
searched = pd.DataFrame(
    {
        name: [f"{getattr(one, name):.3g}" for one in candidates]
        for name in SEARCHED
    }
)
searched.insert(
    0, "name", [f"candidate-{k + 1}" for k in range(len(candidates))]
)
show_table(
    searched,
    f"Settings to choose among, the best of the search first ({data}).",
    "tab-candidates",
)

# %%
choices |= {
    f"settings, {name}": selection.compare_choices(
        pd.concat(frames, ignore_index=True), "dataset", **bootstrap
    )
    for name, frames in tried.items()
}
chance = evaluation.chance_levels(
    patch_set.table["label"], patch_set.classes
)["balanced_accuracy"]
chosen = selection.choice_table(choices)
write_csv(run.folder / "nested.csv", chosen)

# %% mystnb={"figure": {"name": "fig-nested", "caption": "Balanced accuracy of all candidates, of the one that scores best on the test data, and of a nested choice, with 95 % intervals over resampled images; data: {data}. On a null phantom settings cannot differ but by chance."}, "image": {"alt": "A panel per choice: ticks for the scores of all candidates, and two marks with interval bars, one for the choice made on the test data and one for the nested choice, and a chance line"}}
plots_leakage.choice_figure(
    chosen.assign(chance=chance),
    pd.concat(
        of_choice.candidates.assign(question=question)
        for question, of_choice in choices.items()
    ),
)

# %%
show_table(
    selection.printed(choices),
    f"Chosen on the test data, and chosen nested ({', '.join(sets)}). In brackets: 95 % interval; "
    "the number of outer folds that chose a candidate.",
    "tab-nested",
)

# %% [markdown]
# ## Real data
#
# How much parting images adds depends on how alike the patches of an image are, and in the phantom
# we have drawn how alike they are. Two public sets say which image, or acquisition, their rows come
# from.
#
# *mcf10a-mcf7* are crops of single cells, one cell line against another, with nucleus and membrane.
# Crops of one acquisition share its focus and staining. *otccp-eea1* are measurements of early
# endosomes in the paper's six cell lines, the rows of the handcrafted baseline; in all likelihood they were
# made by the study's group, but the source does not say so.

# %%
crops, crop_table, channels = sources.read_crops("mcf10a-mcf7")
measured_sets = {}
object_data = "real measurements (otccp-eea1)"
folder = results_folder(settings, "otccp-eea1")
absent = ""
try:
    features, objects = sources.read_measurements("otccp-eea1")
    objects = objects.assign(group=objects["image"])
    measured_sets[object_data] = (objects, folder)
except sources.SourceUnavailable as error:
    absent = (
        f"**otccp-eea1 is not shown: the table is not at hand.** {error}. "
        "With it, run `make chapter N=10`."
    )
Markdown(absent) if absent else None

# %% [markdown]
# ### Which grouping can be asked of which data
#
# Classes that lie in one imaging batch only, such as a day or a zoom, cannot be told from that batch: leave it
# out, and nothing is left to learn them from. Where every imaging batch holds one class, it must stay
# whole, and none compares classes.

# %%
rows = {
    ", ".join(sets): (
        f"yes, {len(patch_set.table):,} patches",
        f"yes, {slabs} slabs in {depth.min()} planes or more"
        if deep_enough[data]
        else f"no: {slabs} slabs and gaps need more than {depth.min()} planes",
        f"yes, {whole} {unit}s",
        "no: none is named, each image is a group"
        if unit == "image"
        else leakage.batch_answer(images["label"], images["group"]),
    ),
    "real crops (mcf10a-mcf7)": (
        f"yes, {crop_table['keep'].sum():,} crops",
        "no: cut ready, without planes",
        leakage.batch_answer(
            crop_table["label"], crop_table["group"], "acquisition"
        ),
        "no: none is named above the acquisition",
    ),
    "the paper's images": (
        "yes; 30 folds may have been this",
        "yes, 43 planes or more",
        "yes, 26 images in 5 folds; not in 30",
        "not stated",
    ),
}
if not absent:
    rows[object_data] = (
        f"yes, {len(objects):,} objects",
        "no: positions are relative to the cell, not to the stack",
        f"yes, {objects['image'].nunique()} images",
        leakage.batch_answer(objects["label"], objects["batch"], "zoom"),
    )
columns = [
    "by patch, crop or object",
    "by z-slab",
    "by image or acquisition",
    "by imaging batch",
]
show_table(
    pd.DataFrame.from_dict(rows, orient="index", columns=columns)
    .rename_axis("data set")
    .reset_index(),
    f"Which grouping can be asked of which data set ({run.data}, real data).",
    "tab-applicability",
)

# %% [markdown]
# ### Crops

# %%
n, c, height, width = crops.shape
halved = crops.reshape(n, c, height // 2, 2, width // 2, 2)
halved = halved.mean(axis=(3, 5)).round().astype("uint8")
kept = crop_table["keep"].to_numpy(bool)
crop_set = PatchSet.from_crops(halved[kept], crop_table[kept], channels)
edge = crop_set.patches.shape[1]
Markdown(
    f"Early fusion again. Pixels are averaged two by two, from {width} to {edge} pixels, to save time. "
    f"There are {crop_set.table['group'].nunique()} acquisitions, enough for {many.n_splits} folds that keep "
    "them whole: they stand where leaving one image out stood above. The table says on how much they train."
)

# %% tags=["hide-output"]
real, real_shares = {}, {}
crop_data = "real crops (mcf10a-mcf7)"
by_crop = f"{many.n_splits} folds by crop"
by_acquisition = f"{many.n_splits} folds by acquisition"
for name, dataset, of_set in (
    (by_crop, "by-crop", crop_set.split_groups()),
    (by_acquisition, "by-acquisition", crop_set),
):
    split = folds.make_folds(
        of_set.table, **divided | {"n_splits": many.n_splits}
    )
    real_shares[crop_data, name] = coverage.training_coverage(
        [split], of_set.table, of_set.table
    )
    real[crop_data, name] = sweep.train_cells(
        of_set,
        split,
        dataset=f"cv{many.n_splits}-{dataset}",
        models=["early"],
        profile=brief.for_crops(channels, edge),
        size_px=edge,
        folder=results_folder(settings, "mcf10a-mcf7"),
        seed=seed,
    )

# %% tags=["hide-output"]
few_crops = f"{n_splits} folds by acquisition"
split = folds.make_folds(crop_set.table, **divided)
real_shares[crop_data, few_crops] = coverage.training_coverage(
    [split], crop_set.table, crop_set.table
)
real[crop_data, few_crops] = sweep.train_cells(
    crop_set,
    split,
    dataset="cv5",
    models=["early"],
    profile=settings.for_crops(channels, edge),
    size_px=edge,
    folder=results_folder(settings, "mcf10a-mcf7"),
    seed=seed,
)

# %% [markdown]
# ### Measured objects
#
# The classifier is a random forest on all measured columns, as in the handcrafted baseline. It
# stops nothing early, so that no part is set aside for validation; one cell line has two images,
# too few for three parts. The six lines were recorded at two magnifications, three lines at each: a
# forest that knows the magnification has halved the problem. So each magnification is divided by
# itself as well.

# %%
if not absent:
    measured_sets |= {
        f"real measurements, zoom {zoom} by itself (otccp-eea1)": (
            of_zoom,
            folder / f"zoom-{zoom}",
        )
        for zoom, of_zoom in objects.groupby("batch")
    }
trees = settings.leakage.trees
no_inner = divided | {"validation_share": 0}

# %% tags=["hide-output"]
by_object = f"{many.n_splits} folds by object"
alone = {}
for name, (part, place) in measured_sets.items():
    measured = features.loc[part.index].reset_index(drop=True)
    part = part.reset_index(drop=True)
    own = part["image"] + " object " + part.index.astype(str)
    parted = part.assign(group=own)
    alone[name] = f"one image left out, {part['image'].nunique()} folds"
    split = folds.make_folds(
        parted, **no_inner | {"n_splits": many.n_splits}
    )
    real_shares[name, by_object] = coverage.training_coverage(
        [split], parted, part
    )
    real[name, by_object] = forests.train_forests(
        measured,
        parted,
        split,
        trees=trees,
        dataset=f"cv{many.n_splits}-by-object",
        folder=place,
        seed=seed,
    )
    split = folds.leave_one_group_out(part, validation_share=0, seed=seed)
    real_shares[name, alone[name]] = coverage.training_coverage(
        [split], part, part
    )
    real[name, alone[name]] = forests.train_forests(
        measured,
        part,
        split,
        trees=trees,
        dataset="leave-one-out",
        folder=place,
        seed=seed,
    )

# %% tags=["hide-output"]
if not absent:
    splits = [
        folds.make_folds(objects, **no_inner | {"seed": seed + number})
        for number in range(many.repeats)
    ]
    repeats = [
        forests.train_forests(
            features,
            objects,
            split,
            trees=trees,
            dataset="cv5",
            folder=folder,
            seed=seed + number,
        )
        for number, split in enumerate(splits)
    ]
    many_objects = f"{many.repeats} × {n_splits} folds by image"
    few_objects = f"{n_splits} folds by image"
    real[object_data, many_objects] = pd.concat(repeats)
    real[object_data, few_objects] = repeats[0]
    for grouping, used in (
        (many_objects, splits),
        (few_objects, splits[:1]),
    ):
        real_shares[object_data, grouping] = coverage.training_coverage(
            used, objects, objects
        )

# %%
tables = {crop_data: crop_set.table}
if not absent:
    tables |= dict.fromkeys(measured_sets, objects)
controls = {crop_data: by_acquisition, **alone}
real_scored = leakage.leakage_table(
    {
        (name, grouping): leakage.with_groups(frame, tables[name])
        for (name, grouping), frame in real.items()
    },
    controls,
    **bootstrap,
)
write_csv(run.folder / "leakage-real.csv", real_scored)

# %% mystnb={"figure": {"name": "fig-leakage-real", "caption": "Balanced accuracy on real data by the way the folds were made, with 95 % intervals over resampled acquisitions or images: early fusion on crops (mcf10a-mcf7), a random forest on measured early endosomes (otccp-eea1)."}, "image": {"alt": "Dot plot with interval bars, a panel per data set and a row per way to make folds, from folds that part images to folds that keep them whole, and a chance line in each"}}
plots_leakage.leakage_figure(
    real_scored,
    {
        grouping: "parted" if grouping in (by_crop, by_object) else "whole"
        for grouping in real_scored["grouping"]
    },
)

# %%
show_table(
    leakage.printed(real_scored, "the same with images whole").assign(
        **coverage.shown_shares(
            real_shares[row.data, row.grouping]
            for row in real_scored.itertuples()
        )
    ),
    "Real data by the way the folds were made (mcf10a-mcf7, otccp-eea1). Brackets: 95 % interval. "
    "Last: share of all rows, and of those of the class that is tested, that is trained on.",
    "tab-leakage-real",
    data=real_scored.join(
        pd.DataFrame(
            [
                real_shares[row.data, row.grouping]._asdict()
                for row in real_scored.itertuples()
            ]
        )
    ),
)

# %% tags=["hide-input"]
controls = dict.fromkeys(sets, one_out) | controls
shares |= real_shares
parted = (by_patch, by_slab, by_crop, by_object)
lines = [
    difference_sentence(
        f"{row.data}, {row.grouping} minus {controls[row.data]}",
        {
            "value": row.difference,
            "low": row.difference_low,
            "high": row.difference_high,
        },
    )
    + f" Trained on, of the class that is tested: {shares[row.data, row.grouping].of_class:.0%} against "
    f"{shares[row.data, controls[row.data]].of_class:.0%}."
    for row in pd.concat([scored, real_scored]).itertuples()
    if row.grouping in parted and row.data != "null phantom"
]
learnt_nothing = [
    f"{row['grouping']} {interval_text(row['value'], row['low'], row['high'], '')}, "
    f"{leakage.chance_words(row)}"
    for row in scored[scored["data"] == "null phantom"].to_dict("records")
]
if learnt_nothing:
    lines.append(
        f"Where nothing can be learnt and chance is {chance:.2f} (null phantom): "
        + "; ".join(learnt_nothing)
        + "."
    )
lines += [
    f"Best {question}, on the test data minus nested: {interval_text(**made.optimism)}."
    for question, made in choices.items()
]
below = bool((scored["high"] < scored["chance"]).any())
compared = pd.concat([scored, real_scored]).dropna(subset="difference")
compared = compared[
    compared["grouping"].isin((by_patch, by_crop, by_object))
    & (compared["data"] != "null phantom")
]
raised = (compared["difference_low"] > 0).sum()
Markdown(
    "**Answer.** Folds by patch, crop or object score higher, with the whole interval of the difference above 0, "
    f"in {raised} of {len(compared)} comparisons with folds that keep images or acquisitions whole. Where these train on "
    "less of the class that is tested, a part of the difference can be this and not leakage.\n\n"
    + "\n".join(f"- {line}" for line in lines)
    + "\n\n"
    + "A score below chance is an effect of folds as well: the image that is tested is missing from training, which "
    "makes its class rare there and the others likelier. "
    * below
    + "Only folds that keep images whole say what to expect of new images. In the real sets an acquisition, or a "
    "magnification, holds classes of its own, so that even then a part may belong to the day and not to the cells."
    + " What is said of the phantom is a property of the method, not of cancer cells."
    * run.is_phantom
)
