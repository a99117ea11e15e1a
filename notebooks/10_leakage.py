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
# **Question.** How much of a score comes from splitting images between training and test, and from
# choices made on the data that are scored?
#
# Patches of one image share its cells, its staining and its focus. A network that has seen some of
# them can recognise the image, and with it the label. The same data are divided here in several
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
    divisions,
    earlier,
    evaluation,
    folds,
    leakage,
    leakage_words,
    phantom,
    plots_leakage,
    preprocessing,
    protocols,
    selection,
    sources,
)
from organelle_fusion.config import load_profile, use_backend
from organelle_fusion.manifest import read_manifest
from organelle_fusion.pages import (
    class_size_sentence,
    data_banner,
    open_run,
    results_folder,
    show_table,
)
from organelle_fusion.patchset import PatchSet, check_manifest
from organelle_fusion.predictions import Cell, read_predictions
from organelle_fusion.provenance import write_csv
from organelle_fusion.trials import candidate_settings, read_trials
from organelle_fusion.wording import span

settings = load_profile(profile)
use_backend(settings)
run = open_run(settings, manifest)
images = run.read()
size_px, many = settings.patches.size_px, settings.many_folds
patch_set = earlier.read_patches(run, settings)
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
unit = leakage_words.unit_of(images)
n_splits = settings.folds.n_splits
per_class = images.groupby("label")["group"].nunique()
whole = images["group"].nunique()
Markdown(
    f"There are {whole} {unit}s ({run.data}) in {len(per_class)} classes, "
    f"{span(per_class.min(), per_class.max())} in a class.\n\n"
    f"- {leakage_words.whole_sentence(whole, many.n_splits, unit)}\n"
    f"- {leakage_words.lacking_sentence(per_class, n_splits, unit)}\n"
    "\nIn the paper, which has 26 images in six classes, 30 folds cannot each keep an image whole, and in 5 folds "
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
# The first three have many folds, each of which tests little. In the profile quick they train for fewer epochs, so that the
# number of steps is about that of the few folds, and where planes are left out, for as many more as patches are
# missing; a profile that gives both the same number of epochs, such as paper, trains many folds for more steps. Leaving one out is what the other two are measured against, since it keeps images whole.
#
# It is not a clean control. Where whole images are tested, and set aside for validation, the tested
# class loses a larger share of its patches than the others; where patches are divided, all classes
# lose about alike. The table gives the share of patches that each way trains on. What folds by
# patch score above leaving one out is leakage *and* this lost share, and the difference cannot
# separate the two.
#
# For the phantom, the comparison is therefore repeated where nothing can be learnt. The null
# phantom has the same number of images, each drawn with its own staining, and its classes differ in
# name only. A score above chance is leakage there, whatever the share. Differences are not read
# there: with less of its own class in training than of the others, an image is taken for one of the
# others, and leaving one out can score below chance. One's own stacks have no such counterpart.

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
in_many = divided | {"n_splits": many.n_splits}
brief = divisions.with_epochs(settings, many.epochs)
early = {"models": ["early"], "size_px": size_px}
trained = {}

# %% tags=["hide-output"]
by_patch = f"{many.n_splits} folds by patch"
for name, of_set in sets.items():
    parted = of_set.split_groups()
    trained[name, by_patch] = divisions.train_divided(
        parted,
        folds.make_folds(parted.table, **in_many),
        of_set.table,
        dataset=f"cv{many.n_splits}-by-patch",
        profile=brief,
        folder=folders[name],
        seed=seed,
        **early,
    )

# %% tags=["hide-output"]
by_slab = f"{many.n_splits} folds by z-slab"
slabs, gap = settings.leakage.slabs, settings.leakage.guard_planes
needed = slabs + gap * (slabs - 1)
deep = {name: of for name, of in sets.items() if of.planes.min() >= needed}
for name, of_set in deep.items():
    parted = of_set.split_slabs(slabs, gap)
    share = len(parted.table) / len(of_set.table)
    trained[name, by_slab] = divisions.train_divided(
        parted,
        folds.make_folds(parted.table, **in_many),
        of_set.table,
        dataset=f"cv{many.n_splits}-by-slab",
        profile=divisions.with_epochs(settings, round(many.epochs / share)),
        folder=folders[name],
        seed=seed,
        **early,
    )

# %% tags=["hide-output"]
one_out = f"one {unit} left out, {whole} folds"
inner = {"validation_share": settings.folds.validation_share}
for name, of_set in sets.items():
    trained[name, one_out] = divisions.train_divided(
        of_set,
        folds.leave_one_group_out(of_set.table, seed=seed, **inner),
        of_set.table,
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
of_seeds = divisions.train_repeats(
    sets,
    seeds,
    division=divided,
    folders=folders,
    dataset="cv5",
    profile=settings,
    **early,
)
for name, repeats in of_seeds.items():
    trained[name, repeated] = repeats.pooled
    trained[name, once] = repeats.first

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
shares = {key: one.coverage for key, one in trained.items()}
scored = leakage.leakage_table(
    {key: one.predictions for key, one in trained.items()},
    dict.fromkeys(sets, one_out),
    **bootstrap,
)
write_csv(run.folder / "leakage.csv", scored)

# %% mystnb={"figure": {"name": "fig-leakage", "caption": "Balanced accuracy of early fusion by the way the folds were made, with 95 % intervals over resampled images; data: {data}. Where they are the phantom, a null phantom stands beside it, whose classes do not differ, so that whatever it has above chance is leakage."}, "image": {"alt": "Dot plot with interval bars, a panel per data set and a row per way to make folds, from folds that part images to folds that keep them whole, and a chance line"}}
plots_leakage.leakage_figure(scored, units)

# %%
trained_on = coverage.row_shares(scored, shares)
show_table(
    leakage.printed(scored, one_out).assign(
        **coverage.shown_shares(trained_on.itertuples())
    ),
    f"Early fusion by the way the folds were made ({', '.join(sets)}). Brackets: 95 % interval. "
    "Last: share of all patches, and of those of the class that is tested, that is trained on.",
    "tab-leakage",
    data=scored.join(trained_on),
)

# %% tags=["hide-input"]
depth = patch_set.planes
Markdown(
    f"For z-slabs, {slabs} stretches of planes with {gap} left out between two, every image needs "
    f"{needed} planes with patches. "
    + (
        f"The images have {span(depth.min(), depth.max())}."
        if data in deep
        else f"{depth.idxmin()} has {depth.min()}, so folds by z-slab are left out."
    )
)

# %% [markdown]
# ## Choosing on the data that are scored
#
# Anyone who tries several patch sizes or settings and reports the best score has chosen on the test
# data, and that score is too high: the best of several is best partly by luck. The choice is
# *nested* if each outer fold chooses by its own validation part, which it has in any case, and is
# scored on its test part. Both choices are made here among the same trainings; the difference
# between their scores is what choosing on the test data adds.
#
# Its interval resamples images and makes the non-nested choice anew in each resample, while the
# nested choices, made before any test image was seen, stand. The best of several is flattered in a
# resample once more, so the interval is biased towards a larger difference: read it for how large
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
# same folds by image. Where the data are the phantom, they are trained on the null phantom too: no setting is better than
# another there, and whatever a choice gains is luck.
# On one's own stacks that search has seen all images, fold by fold, so even the nested score
# is flattered a little.

# %% tags=["hide-output"]
candidates = candidate_settings(
    read_trials(of_trials), settings.training, settings.leakage.candidates
)
tried = divisions.train_candidates(
    sets,
    candidates,
    division=divided,
    folders=folders,
    profile=settings,
    seed=seed,
    **early,
)

# %%
show_table(
    selection.settings_table(candidates),
    f"Settings to choose among, the best of the search first ({data}).",
    "tab-candidates",
)

# %%
choices |= {
    f"settings, {name}": selection.compare_choices(
        predictions, "dataset", **bootstrap
    )
    for name, predictions in tried.items()
}
chance = evaluation.chance_levels(
    patch_set.table["label"], patch_set.classes
)["balanced_accuracy"]
chosen = selection.choice_table(choices)
write_csv(run.folder / "nested.csv", chosen)

# %% mystnb={"figure": {"name": "fig-nested", "caption": "Balanced accuracy of all candidates, of the one that scores best on the test data, and of a nested choice, with 95 % intervals over resampled images; data: {data}. Where there is a null phantom, settings cannot differ on it but by chance."}, "image": {"alt": "A panel per choice: ticks for the scores of all candidates, and two marks with interval bars, one for the choice made on the test data and one for the nested choice, and a chance line"}}
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
crop_data = "real crops (mcf10a-mcf7)"
object_data = "real measurements (otccp-eea1)"
folder = results_folder(settings, "otccp-eea1")
absent = ""
try:
    features, objects = sources.read_measurements("otccp-eea1")
    objects = objects.assign(group=objects["image"])
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
answers = {
    ", ".join(sets): leakage_words.stack_groupings(
        images, len(patch_set.table), depth.min(), slabs=slabs, gap=gap
    ),
    crop_data: leakage_words.crop_groupings(crop_table),
    "the paper's images": leakage_words.PAPER,
}
if not absent:
    answers[object_data] = leakage_words.object_groupings(objects)
show_table(
    leakage_words.grouping_table(answers),
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
real = {}
by_crop = f"{many.n_splits} folds by crop"
by_acquisition = f"{many.n_splits} folds by acquisition"
of_crops = {
    "models": ["early"],
    "size_px": edge,
    "folder": results_folder(settings, "mcf10a-mcf7"),
    "seed": seed,
}
for name, dataset, of_set in (
    (by_crop, "by-crop", crop_set.split_groups()),
    (by_acquisition, "by-acquisition", crop_set),
):
    real[crop_data, name] = divisions.train_divided(
        of_set,
        folds.make_folds(of_set.table, **in_many),
        crop_set.table,
        dataset=f"cv{many.n_splits}-{dataset}",
        profile=brief.for_crops(channels, edge),
        **of_crops,
    )

# %% tags=["hide-output"]
few_crops = f"{n_splits} folds by acquisition"
real[crop_data, few_crops] = divisions.train_divided(
    crop_set,
    folds.make_folds(crop_set.table, **divided),
    crop_set.table,
    dataset="cv5",
    profile=settings.for_crops(channels, edge),
    **of_crops,
)

# %% [markdown]
# ### Measured objects
#
# The classifier is a random forest, as in the handcrafted baseline, but on the columns of the table as they were measured:
# without distances to other objects of the cell, and with those to mitochondria and transferrin, so its scores are not
# the ones of that chapter. It stops nothing early, so no part is set aside for validation; one cell line has two images,
# too few for three parts. The six lines were recorded at two magnifications, three lines at each: a
# forest that knows the magnification has halved the problem. So each magnification is divided by
# itself as well.

# %%
measured_sets = {}
if not absent:
    measured_sets[object_data] = (objects, folder)
    for zoom, of_zoom in objects.groupby("batch"):
        name = f"real measurements, zoom {zoom} by itself (otccp-eea1)"
        measured_sets[name] = (of_zoom, folder / f"zoom-{zoom}")
trees = settings.leakage.trees
no_inner = divided | {"validation_share": 0}

# %% tags=["hide-output"]
by_object = f"{many.n_splits} folds by object"
alone = {}
for name, (part, place) in measured_sets.items():
    alone[name] = f"one image left out, {part['image'].nunique()} folds"
    parted = protocols.divide_objects(
        part.reset_index(drop=True),
        (by_object, alone[name]),
        n_splits=many.n_splits,
        seed=seed,
    )
    for grouping, dataset in (
        (by_object, f"cv{many.n_splits}-by-object"),
        (alone[name], "leave-one-out"),
    ):
        real[name, grouping] = divisions.grow_divided(
            features.loc[part.index].reset_index(drop=True),
            parted[grouping],
            name=dataset,
            folder=place,
            trees=trees,
            seed=seed,
        )

# %% tags=["hide-output"]
if not absent:
    many_objects = f"{many.repeats} × {n_splits} folds by image"
    few_objects = f"{n_splits} folds by image"
    repeats = divisions.grow_repeats(
        features,
        objects,
        seeds,
        division=no_inner,
        name="cv5",
        folder=folder,
        trees=trees,
    )
    real[object_data, many_objects] = repeats.pooled
    real[object_data, few_objects] = repeats.first

# %%
controls = {crop_data: by_acquisition, **alone}
real_shares = {key: one.coverage for key, one in real.items()}
real_scored = leakage.leakage_table(
    {key: one.predictions for key, one in real.items()},
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
trained_on = coverage.row_shares(real_scored, real_shares)
show_table(
    leakage.printed(real_scored, "the same with images whole").assign(
        **coverage.shown_shares(trained_on.itertuples())
    ),
    "Real data by the way the folds were made (mcf10a-mcf7, otccp-eea1). Brackets: 95 % interval. "
    "Last: share of all rows, and of those of the class that is tested, that is trained on.",
    "tab-leakage-real",
    data=real_scored.join(trained_on),
)

# %% tags=["hide-input"]
controls = dict.fromkeys(sets, one_out) | controls
nothing = scored["data"] == "null phantom"
told = pd.concat([scored[~nothing], real_scored])
parted = told[
    told["grouping"].isin((by_patch, by_slab, by_crop, by_object))
]
compared = parted[parted["grouping"] != by_slab]
raised = compared[compared["difference_low"] > 0]
below = any(
    (table["high"] < table["chance"]).any()
    for table in (scored, real_scored)
)
lines = [
    *leakage_words.difference_lines(parted, controls, shares | real_shares),
    *leakage_words.nothing_lines(scored[nothing]),
    *selection.optimism_lines(choices),
]
Markdown(
    "**Answer.** Folds by patch, crop or object score higher, with the whole interval of the difference above 0, "
    f"in {len(raised)} of {len(compared)} comparisons with folds that keep images or acquisitions whole"
    + (f": {'; '.join(raised['data'])}" if len(raised) else "")
    + ". "
    + "Those of otccp-eea1 are of one table, classified by a forest; the others are of networks. "
    * any("otccp" in name for name in compared["data"])
    + "Where folds that keep images whole train on "
    "less of the class that is tested, a part of the difference can be this and not leakage.\n\n"
    + "\n".join(f"- {line}" for line in lines)
    + "\n\n"
    + "A score below chance is an effect of folds as well: the image that is tested is missing from training, which "
    "makes its class rare there and the others likelier. "
    * below
    + "Only folds that keep images whole say what to expect of new images. In the real sets each acquisition, or "
    "magnification, holds only some of the classes, so even then a part of the score may come from the day and not from the cells."
    + " What is said of the phantom is a property of the method, not of cancer cells."
    * run.is_phantom
)
