# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Beyond the paper
#
# **Question.** Do the networks group patches by class or by image, which organelles are needed, and
# how small can a network be?
#
# The paper names some of this as future work and shows none of it. Every score here is by the folds of the chapter on
# [5 folds by image](06_fusion_cv5.ipynb), so that it stands beside the scores there.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file
manifest: str = ""  # CSV that lists one's own stacks; empty: the phantom

# %% tags=["hide-input"]
from IPython.display import Markdown

from organelle_fusion import (
    ablations,
    comparisons,
    distillation,
    earlier,
    embeddings,
    evaluation,
    export,
    export_report,
    folds,
    plots,
    plots_beyond,
    subsets,
    sweep,
    widgets_maps,
)
from organelle_fusion.config import load_profile, use_backend
from organelle_fusion.pages import (
    data_banner,
    difference_sentence,
    open_run,
    show_table,
)
from organelle_fusion.patchset import check_manifest
from organelle_fusion.provenance import write_csv
from organelle_fusion.wording import title

settings = load_profile(profile)
use_backend(settings)
beyond = settings.beyond
run = open_run(settings, manifest)
size_px, seed = settings.patches.size_px, settings.folds.seed
patch_set = earlier.read_patches(run, settings)
split = earlier.read_whole_folds(run, settings)
numbers = sorted(split["fold"].unique().tolist())
stored = run.folder / "predictions"
bootstrap = {"repeats": settings.bootstrap_repeats, "seed": seed}
training = {"size_px": size_px, "folder": stored, "seed": seed}
data_banner(settings, run)

# %%
trained = {
    model: earlier.read_cells(
        run,
        earlier.fold_cells(model, split, seed, size_px=size_px).values(),
        stored,
        "06",
    )
    for model in (*settings.channels, "early", "intermediate")
}
check_manifest(trained["early"], run.read(), "06")
teachers = earlier.fold_cells("intermediate", split, seed, size_px=size_px)
teacher_weights = earlier.find_weights(run, teachers, stored, "06")

# %% [markdown]
# ## What features group patches by
#
# Intermediate fusion classifies the joined features of its encoders. If patches of one *image* lie together there, more
# than patches of their class do, the network has learnt something of the image, such as its staining, that no other
# image will share.
#
# Networks of different folds have no feature in common, so nothing can be pooled in one picture, and neighbours are
# looked for in one network at a time. What a network makes of images that it was trained on says little; counted are those of
# the validation and test part of its fold, to which no weight was fitted (the validation part chose the epoch).

# %%
from organelle_fusion import models, network_sizes

features = embeddings.fold_features(
    models.build_model(
        "intermediate",
        channels=settings.channels,
        n_classes=len(patch_set.classes),
        encoder=settings.encoder,
        training=settings.training,
    ),
    teacher_weights,
    patch_set.patches,
)
clustered = embeddings.cluster_folds(
    features, patch_set.table, split, neighbours=beyond.neighbours
)

# %% [markdown]
# UMAP {cite:p}`mcinnes2018` lays the features of one network out in two dimensions. It keeps neighbours, and neither
# distances nor densities, so it may be looked at but not measured.

# %% mystnb={"figure": {"name": "fig-umap", "caption": "UMAP of the features of intermediate fusion in the first fold, of patches of images that its network has not learnt from; data: {data}. Coloured by class, and by image within the class."}, "image": {"alt": "Two scatter plots of the same points, the left one coloured by class, the right one by the image within its class"}}
parts = folds.fold_parts(split, patch_set.table["group"], numbers[0])
unseen = parts != "train"
of_unseen = patch_set.table[unseen]
layout = embeddings.umap_layout(
    features[numbers[0]][unseen], neighbours=beyond.neighbours, seed=seed
)
plots_beyond.features_figure(
    layout, of_unseen["label"], of_unseen["image"], parts[unseen]
)

# %% tags=["hide-input"]
widgets_maps.features_widget(
    layout,
    of_unseen,
    parts[unseen],
    patches=patch_set.patches,
    rows=unseen.nonzero()[0],
    seed=seed,
    data=run.data,
)

# %% [markdown]
# What the eye sees is measured in the features themselves. Images have one class each, so whatever groups by class
# groups by image too; the question by image is therefore put within a class: of the nearest patches of
# the same class, how many are of the same image, and how many would be if images were shuffled within the class? Planes above each
# other show the same cells, so patches of one place are left out of each other's neighbours. Classes of which a
# fold holds one such image cannot be asked. The silhouette {cite:p}`rousseeuw1987` says how much nearer a patch lies to its own class
# than to the next (1 at most, 0 between two classes). Intervals resample images within their class, over the folds together.

# %%
clusters = embeddings.cluster_table(clustered, **bootstrap)
write_csv(run.folder / "clusters.csv", clusters)
show_table(
    embeddings.cluster_lines(clusters),
    f"Neighbours among features of intermediate fusion ({beyond.neighbours} nearest patches of the same class), with 95 % intervals "
    f"({run.data}).",
    "tab-clusters",
    data=clusters,
)

# %% [markdown]
# ## Which organelles are needed
#
# The paper has each organelle alone and all of them. Here is what lies between: intermediate fusion of every set of
# organelles, on the same patches in the same folds. Those alone and together are read from the chapter on 5 folds.

# %% tags=["hide-output"]
of_subsets = subsets.train_subsets(
    patch_set, split, dataset="cv5", profile=settings, **training
)

# %%
names = {
    subsets.subset_title(channels): found
    for channels, found in of_subsets.items()
}
singles = {title(name): trained[name] for name in settings.channels}
everything = "all organelles"
subset_scores = ablations.ablation_table(
    trained["intermediate"], singles | names, **bootstrap
).replace({ablations.OWN: everything})
write_csv(run.folder / "subsets.csv", subset_scores)
show_table(
    ablations.ablation_lines(subset_scores).rename(
        columns={"Variant": "Organelles"}
    ),
    "Fusion of some organelles, balanced accuracy with 95 % intervals, and difference to all organelles "
    f"({run.data}).",
    "tab-subsets",
    data=subset_scores,
)

# %% mystnb={"figure": {"name": "fig-subsets", "caption": "Balanced accuracy of intermediate fusion of all organelles, of each organelle alone and of every set between, with 95 % intervals over resampled images; data: {data}. The dashed line is chance."}, "image": {"alt": "Dot plot with interval bars, a row for each set of organelles, by patch and by image, and a chance line"}}
chance = evaluation.chance_levels(
    patch_set.table["label"], patch_set.classes
)["balanced_accuracy"]
plots.grouping_figure(
    subset_scores.assign(
        model=subset_scores["variant"],
        grouping="by " + subset_scores["level"],
    ),
    chance,
)

# %% tags=["hide-input"]
best_subset = {
    level: comparisons.rival_difference(
        trained["intermediate"], singles | names, level=level, **bootstrap
    )
    for level in ("patch", "image")
}
subset_lines = [
    difference_sentence(
        f"all organelles minus the best set that lacks some ({found['best']}), by {level}",
        found,
    )
    for level, found in best_subset.items()
]
Markdown("\n".join(f"- {line}" for line in subset_lines))

# %% [markdown]
# The best set is chosen anew in every resample, so the choice is part of the uncertainty.
#
# ## A small network taught by a large one
#
# Intermediate fusion pays for one encoder per organelle. A *student* with one small encoder for all channels is trained in two ways:
# on labels, and by the *teacher*, which is intermediate fusion of the same fold {cite:p}`hinton2015`. The
# teacher's probabilities, softened by a temperature, say of each training patch which classes it resembles. The teacher itself has
# seen the training part of the fold only (and its validation part to stop by), and is asked for nothing of the test part. It is
# asked for a patch as it is, and the student sees it changed at random, as in every training. Start and order of both students are the same.

# %% tags=["hide-output"]
small = distillation.student_profile(settings)
untaught = sweep.train_cells(
    patch_set,
    split,
    models=["early"],
    dataset="cv5-student",
    profile=small,
    **training,
)
taught = distillation.distill_cells(
    patch_set,
    split,
    teachers=teachers,
    profile=settings,
    dataset="cv5-student",
    folder=stored,
    seed=seed,
)

# %%
sizes = network_sizes.count_networks(
    {
        "teacher": ("intermediate", settings),
        "student": (distillation.STRATEGY, small),
    },
    settings.channels,
    len(patch_set.classes),
)
# %%
student_scores = ablations.ablation_table(
    trained["intermediate"],
    {"student, on labels": untaught, "student, taught": taught},
    **bootstrap,
).replace({ablations.OWN: "teacher, intermediate fusion"})
write_csv(run.folder / "student.csv", student_scores)
show_table(
    ablations.ablation_lines(student_scores).rename(
        columns={"Variant": "Network"}
    ),
    f"A student of {sizes['student']:,} parameters beside its teacher of {sizes['teacher']:,}, balanced accuracy with "
    f"95 % intervals, and difference to the teacher ({run.data}).",
    "tab-student",
    data=student_scores,
)

# %% tags=["hide-input"]
lesson = comparisons.folding_difference(taught, untaught, **bootstrap)
Markdown(
    f"The student has {sizes['student'] / sizes['teacher']:.1%} of the parameters of its teacher. "
    + difference_sentence("taught minus on labels, by patch", lesson)
    + " Temperature and weight of the teacher are values from the literature and were not searched. The size of the "
    "student was settled after a smaller one had been scored on the phantom, so its score by itself may be flattered; the "
    "difference between the two students is not, since they have one size."
)

# %% [markdown]
# ## Out of Python
#
# A trained network can leave Keras: TensorFlow writes it into a LiteRT (TensorFlow Lite) file, which runs on a phone as on a
# server. Weights may be kept in half precision (`float16`), or weights and arithmetic in 8-bit integers (`int8`), whose
# ranges are set on patches of the training part. Each file is loaded again, and what it predicts is compared with Keras, whatever
# computed there. Latency is measured on one thread of the processor that made this page.

# %%
students = earlier.fold_cells(
    distillation.MODEL, split, seed, size_px=size_px, dataset="cv5-student"
)
student_weights = earlier.find_weights(run, students, stored, "12")
networks = [
    export.Network("teacher", "intermediate", settings, teacher_weights),
    export.Network(
        "student", distillation.STRATEGY, small, student_weights
    ),
]

# %% tags=["hide-output"]
place = run.folder / "exported"
exported = export.exported_predictions(
    networks,
    patch_set,
    split,
    calibration_patches=beyond.calibration_patches,
    dataset="cv5",
    size_px=size_px,
    folder=place,
    seed=seed,
)

# %%
by_format = export.export_table(
    networks,
    {"teacher": trained["intermediate"], "student": taught},
    exported,
    place,
    **bootstrap,
)
write_csv(run.folder / "exported.csv", by_format)
show_table(
    export_report.export_lines(by_format),
    f"Exported networks ({run.data}): balanced accuracy by patch, largest deviation "
    "of a probability from that of Keras, share of patches given another class than by Keras, size of the file, and time "
    "per patch on one thread.",
    "tab-export",
    data=by_format,
)

# %% [markdown]
# The rows of one network are scored on the same patches, so their intervals overlap for more than their difference is
# uncertain; the share of patches with another class is the direct comparison.
#
# ## Another backbone
#
# All encoders are built by one function, and a younger family fits into it: ConvNeXt {cite:p}`liu2022`, whose blocks are a depthwise convolution of
# 7 × 7 pixels and two dense layers. On a laptop it has one block a stage (`compact_convnext`), on a GPU it is
# the published `convnext_tiny`. Early fusion is trained with it in the same folds, for as many epochs and
# with the settings that were chosen for the profile's own encoder, which favours the latter.

# %% tags=["hide-output"]
other = settings.model_copy(
    update={
        "encoder": settings.encoder.model_copy(
            update={"stem_stride": 2} | beyond.backbone.model_dump()
        )
    }
)
with_other = sweep.train_cells(
    patch_set,
    split,
    models=["early"],
    dataset="cv5-backbone",
    profile=other,
    **training,
)

# %%
backbone_scores = ablations.ablation_table(
    trained["early"], {other.encoder.kind: with_other}, **bootstrap
).replace({ablations.OWN: settings.encoder.kind})
write_csv(run.folder / "backbone.csv", backbone_scores)
show_table(
    ablations.ablation_lines(backbone_scores).rename(
        columns={"Variant": "Encoder"}
    ),
    "Early fusion with either encoder, balanced accuracy with 95 % intervals, and difference to the profile's own "
    f"encoder ({run.data}).",
    "tab-backbone",
    data=backbone_scores,
)

# %%
backbone = comparisons.folding_difference(
    with_other, trained["early"], **bootstrap
)
lines = [
    embeddings.image_sentence(clusters, beyond.neighbours),
    *subset_lines,
    difference_sentence(
        f"a student with {sizes['student'] / sizes['teacher']:.1%} of the parameters, taught minus on labels, by patch",
        lesson,
    ),
    difference_sentence(
        "the taught student minus its teacher, by patch",
        comparisons.folding_difference(
            taught, trained["intermediate"], **bootstrap
        ),
    ),
    export_report.size_sentence(by_format),
    difference_sentence(
        f"early fusion with {other.encoder.kind} minus {settings.encoder.kind}, by patch",
        backbone,
    ),
]
Markdown(
    "**Answer.**\n\n"
    + "\n".join(f"- {line}" for line in lines)
    + (
        "\n\nAll of this is about the phantom, not about cancer cells."
        * run.is_phantom
    )
)
