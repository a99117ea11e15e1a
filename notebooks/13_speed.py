# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Speed
#
# **Question.** How fast is this package compared with what one would use without it, and how long
# would ten thousand stacks take?
#
# Nothing is measured while this page is made. `make bench` measures, on one machine and in one run, and leaves its
# numbers in `data/benchmarks`; this page shows them.

# %% tags=["parameters"]
profile: str = "quick"  # name of a profile, or the path of a YAML file

# %% tags=["hide-input"]
import pandas as pd
from IPython.display import Markdown

from organelle_fusion import plots_speed, scaling, speed
from organelle_fusion.config import load_profile
from organelle_fusion.pages import data_banner, show_table
from organelle_fusion.repository import project_root

settings = load_profile(profile)
measured = speed.read_measured(project_root())
benchmark = measured.side_by_side["benchmark"]
of_workers = benchmark == scaling.BENCHMARK
beside = measured.side_by_side[~of_workers & (benchmark != speed.PIPELINE)]
data_banner(
    settings,
    None,
    "<b>Times.</b> Measured on planes of the phantom and on random pixels by <code>make bench</code>, and the same "
    "whatever the profile and the stacks of the book.",
)

# %% tags=["hide-input"]
Markdown(speed.machine_sentence(measured.machine))

# %% [markdown]
# ## Beside other packages
#
# Each comparison does one task in two or more ways, which take turns, in one process; the fastest run of each way counts. A ratio of
# times on one machine says more than the times. The results of both ways are compared too, since a fast way to
# another result would be no gain. The scripts are in the folder `benchmarks`. Of a training, parts are timed for themselves
# as well, and of a peer more than one way to call it; the answer below counts each whole task once, beside the fastest peer.

# %% mystnb={"figure": {"name": "fig-ratios", "caption": "Time that each peer takes, as a multiple of the time that this package takes for the same task, on random pixels and planes of the phantom. Filled dots right of the line: this package is faster."}, "image": {"alt": "Dot plot on a log axis, a block of rows for each task and a dot for each peer, left or right of a line at 1"}}
plots_speed.ratios_figure(beside)

# %%
show_table(
    speed.shown_ratios(beside),
    "Ours and others, side by side, on random pixels and planes of the phantom: seconds per unit that the task names, and in the first rows for one whole stack; the ratio of theirs to ours, "
    "our peak memory, and how far the results agree.",
    "tab-side-by-side",
    data=speed.with_ratios(beside),
)

# %% [markdown]
# tiler and MONAI cut and do no more. They were given the scaling to 8 bits in NumPy, and where patches or maps change
# their size, the resizing of scikit-image or SciPy that gives the same result. A study resizes both. MONAI's merger weighs
# all pixels of a tile alike, so that it is asked for tiles side by side only. Peak memory, where it could be seen, is in the file.

# %% tags=["hide-input"]
Markdown(
    speed.reading_sentence(measured.side_by_side)
    + " "
    + speed.pipeline_sentence(measured.side_by_side)
)

# %% [markdown]
# ## Single functions
#
# The functions in which a run spends its time, each alone, by pytest-benchmark.

# %%
show_table(
    speed.shown_functions(measured.functions),
    "Median time of single functions, on random pixels, with networks of the profile quick.",
    "tab-functions",
    data=measured.functions.assign(
        median_ms=1000 * measured.functions["seconds"]
    ),
)

# %% [markdown]
# ## On a GPU

# %% tags=["hide-input"]
Markdown(speed.gpu_sentence(measured))

# %% tags=["hide-input"]
None if measured.gpu is None else show_table(
    speed.shown_gpu(measured.gpu),
    "Images per second with ResNet50 encoders, on random pixels in place of the phantom; the ratio is to plain Keras, "
    "or to the plain step where weights are stacked.",
    "tab-gpu",
)

# %% [markdown]
# ## Ten thousand stacks
#
# What one stack, one patch and one training step cost on this machine, times as many as there would be. This is a
# projection: nobody has run it. How much is lost where workers share a machine was measured with two. In a process of several
# threads sums are rounded otherwise, and trainings on noise, as these are, drift apart: the last column says so of that row.

# %%
show_table(
    speed.shown_ratios(measured.side_by_side[of_workers])
    .drop(columns="Ours, MB")
    .rename(
        columns={
            "Peer": "Beside",
            "Ours, s": "Two workers, s",
            "Theirs, s": "Beside, s",
        }
    ),
    "Two workers of one thread beside one, and beside one process of as many threads as there are processors, on the phantom.",
    "tab-workers",
)

# %%
stacks, workers = 10_000, (1, 16, 64, 256)
profiles = [load_profile("quick"), load_profile("paper")]
share = scaling.efficiency(measured.side_by_side)
work = {
    f"{found.encoder.kind} encoders": scaling.planned_work(
        measured.stages, stacks, found
    )
    for found in profiles
}
projected = {
    name: scaling.projected_hours(frame, workers, share)
    for name, frame in work.items()
}

# %% mystnb={"figure": {"name": "fig-projection", "caption": "Projected time for 10,000 stacks by number of workers, stage by stage, with the small encoder of the profile quick and with that of the profile paper; from costs measured on the phantom. Both axes are logarithmic."}, "image": {"alt": "Two panels of falling lines, a line for each stage; the lines of training and predicting end in a level"}}
plots_speed.hours_figure(projected)

# %%
show_table(
    scaling.shown_hours(projected, work),
    f"Projected hours for {stacks:,} stacks on 1 to {max(workers)} workers, from costs measured on the phantom. Seconds are those of "
    "one unit on one worker.",
    "tab-projection",
)

# %%
storage = scaling.storage_table(measured.stages, stacks, profiles)
show_table(
    pd.DataFrame(
        {
            "What": storage["what"],
            "TB": [f"{value:.2g}" for value in storage["tb"]],
        }
    ),
    f"Projected space for {stacks:,} stacks of the paper's size and for their patches, of which the phantom has as many per stack.",
    "tab-storage",
)

# %% tags=["hide-input"]
lines = scaling.assumption_lines(measured.stages, share, profiles)
Markdown(
    "The projection takes for granted:\n\n"
    + "\n".join(f"- {line}" for line in lines)
)

# %%
Markdown(
    "**Answer.** "
    + speed.verdict_sentence(beside)
    + " "
    + scaling.answer_sentence(projected, stacks)
)
