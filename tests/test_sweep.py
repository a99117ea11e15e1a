"""Sweeps: what is resumed, what is computed again, and what an interruption leaves."""

import gc
import os
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from organelle_fusion import computing, sweep, workers
from organelle_fusion.computing import CellSet, run_cell_sets, run_cells
from organelle_fusion.config import EncoderSettings, load_profile
from organelle_fusion.folds import FoldError, fold_parts, make_folds
from organelle_fusion.inputs import noted_files
from organelle_fusion.patchset import PatchSet
from organelle_fusion.predictions import (
    Cell,
    SweepError,
    late_weights,
    read_cell,
    read_predictions,
    read_provenance,
    write_predictions,
)
from organelle_fusion.provenance import note_file
from organelle_fusion.sweep import (
    network_seed,
    train_all,
    train_cells,
    train_sizes,
)

CELLS = [Cell("toy", 350, model, fold, 7) for model in ("early", "late") for fold in (0, 1)]
INPUTS = {"data": "d", "settings": "s"}


class Compute:
    """Stands in for a training: predicts the number of the fold, and counts its calls."""

    def __init__(self, fail_at=None, error=RuntimeError):
        self.cells, self.fail_at, self.error = [], fail_at, error

    def __call__(self, cell):
        if len(self.cells) == self.fail_at:
            raise self.error("no luck\nat all")
        self.cells.append(cell)
        frame = pd.DataFrame({"patch": [0, 1], "p:x": np.float32([cell.fold, 0.5])})
        frame.attrs = {"note": cell.model}
        return frame


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


def test_cell_path_spells_out_the_cell(tmp_path):
    """Where the results of other people's sweeps are found."""
    cell = Cell("phantom", 350, "intermediate", 3, 11)
    expected = tmp_path / "phantom/350px/intermediate/fold-03-seed-11.parquet"
    assert cell.path(tmp_path) == expected
    assert cell.weights_path(tmp_path).name == "fold-03-seed-11.weights.h5"


def test_second_run_computes_nothing(tmp_path, capsys):
    """All cells are stored, and read back as they were computed, with their provenance."""
    first, second = Compute(), Compute()
    paths = run_cells(CELLS, first, tmp_path, inputs=INPUTS)
    assert first.cells == CELLS
    assert paths == [cell.path(tmp_path) for cell in CELLS]
    assert run_cells(CELLS, second, tmp_path, inputs=INPUTS) == paths
    assert second.cells == []
    assert "4 cells: 4 stored, 0 to compute" in capsys.readouterr().out

    predictions = read_predictions(paths)
    assert predictions["model"].tolist() == ["early"] * 4 + ["late"] * 4
    assert predictions["fold"].tolist() == [0, 0, 1, 1] * 2
    assert predictions["p:x"].tolist() == [0, 0.5, 1, 0.5] * 2
    assert predictions["p:x"].dtype == np.float32
    assert predictions.columns[:5].tolist() == ["dataset", "size_px", "model", "fold", "seed"]
    facts = read_provenance(paths[2])
    assert facts["cell"] == {
        "dataset": "toy", "size_px": 350, "model": "late", "fold": 0, "seed": 7
    }  # fmt: skip
    assert facts["inputs"] == INPUTS
    assert facts["details"] == {"note": "late"}
    assert facts["seconds"] >= 0


@pytest.mark.parametrize("inputs", [{"data": "d", "settings": "other"}, {**INPUTS, "code": "c"}])
def test_other_inputs_are_computed_again(tmp_path, inputs):
    """A changed or a further hash: nothing that was stored is used."""
    run_cells(CELLS, Compute(), tmp_path, inputs=INPUTS)
    again = Compute()
    paths = run_cells(CELLS, again, tmp_path, inputs=inputs)
    assert again.cells == CELLS
    assert read_provenance(paths[0])["inputs"] == inputs


@pytest.mark.parametrize("damage", ["torn", "empty", "foreign"])
def test_damaged_file_is_computed_again_and_said_so(tmp_path, capsys, damage):
    """A torn, an empty or a foreign file costs its own cell only."""
    paths = run_cells(CELLS, Compute(), tmp_path, inputs=INPUTS)
    if damage == "foreign":
        pd.DataFrame({"p:x": [1.0]}).to_parquet(paths[1])
    else:
        content = paths[1].read_bytes()
        paths[1].write_bytes(content[: len(content) // 2] if damage == "torn" else b"")
    with pytest.raises(SweepError, match=r"fold-01.* delete it"):
        read_provenance(paths[1])
    again = Compute()
    capsys.readouterr()
    run_cells(CELLS, again, tmp_path, inputs=INPUTS)
    assert again.cells == [CELLS[1]]
    lines = [line for line in capsys.readouterr().out.splitlines() if "computed again" in line]
    assert len(lines) == 1
    assert lines[0].startswith("toy 350 px early fold 1 seed 7: computed again")
    assert read_provenance(paths[1])["inputs"] == INPUTS


def test_exception_names_the_cell_and_leaves_no_file(tmp_path):
    """What was finished is kept; the failed cell leaves nothing; a second run goes on."""
    with pytest.raises(SweepError, match="toy 350 px late fold 0 seed 7: RuntimeError") as caught:
        run_cells(CELLS, Compute(fail_at=2), tmp_path, inputs=INPUTS)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert files(tmp_path) == [cell.path(tmp_path) for cell in CELLS[:2]]
    rest = Compute()
    run_cells(CELLS, rest, tmp_path, inputs=INPUTS)
    assert rest.cells == CELLS[2:]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_writing_leaves_the_old_file(tmp_path, monkeypatch, error):
    """Ctrl-C or a full disk in the middle of a file: the one before stays, nothing beside it."""
    path = run_cells(CELLS[:1], Compute(), tmp_path, inputs=INPUTS)[0]
    before = path.read_bytes()

    def half(table, target, **_):
        Path(target).write_bytes(b"PAR1 half")
        raise error

    monkeypatch.setattr(pq, "write_table", half)
    with pytest.raises(error):
        run_cells(CELLS[:1], Compute(), tmp_path, inputs={})
    assert files(tmp_path) == [path]
    assert path.read_bytes() == before


def test_interrupt_passes_through(tmp_path):
    """Ctrl-C is no failed cell: it ends the sweep."""
    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, Compute(1, KeyboardInterrupt), tmp_path, inputs=INPUTS)
    assert files(tmp_path) == [CELLS[0].path(tmp_path)]


def test_missing_companion_is_computed_again(tmp_path):
    """A cell without its weights is not whole."""

    def compute(cell):
        cell.weights_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
        cell.weights_path(tmp_path).write_bytes(b"weights")
        return counting(cell)

    counting = Compute()
    arguments = {"inputs": INPUTS, "beside": lambda cell: [cell.weights_path(tmp_path)]}
    run_cells(CELLS, compute, tmp_path, **arguments)
    CELLS[3].weights_path(tmp_path).unlink()
    run_cells(CELLS, compute, tmp_path, **arguments)
    assert counting.cells == [*CELLS, CELLS[3]]


def test_one_run_does_not_mix_devices(tmp_path):
    """Stored results of one device are taken; once anything is computed, all come from one."""
    asked = []

    def device(name):
        return lambda: asked.append(name) or name

    run_cells(CELLS, Compute(), tmp_path, inputs=INPUTS, device=device("gpu"))
    assert asked == ["gpu"]
    stored = Compute()
    run_cells(CELLS, stored, tmp_path, inputs=INPUTS, device=device("cpu"))
    assert (stored.cells, asked) == ([], ["gpu"])  # nothing to compute: nobody asks
    CELLS[0].path(tmp_path).unlink()
    again = Compute()
    paths = run_cells(CELLS, again, tmp_path, inputs=INPUTS, device=device("cpu"))
    assert again.cells == CELLS
    assert {read_provenance(path)["device"] for path in paths} == {"cpu"}


def test_progress_names_cell_place_and_time_left(tmp_path, capsys, monkeypatch):
    """With a clock of 3 s per call, of which a cell makes three: a line when 10 s have passed."""
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(workers.time, "perf_counter", lambda: next(clock))
    cells = [Cell("toy", 350, "early", fold, 7) for fold in range(4)]
    run_cells(cells, Compute(), tmp_path, inputs=INPUTS)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "4 cells: 0 stored, 4 to compute"
    assert lines[1] == "toy 350 px early fold 0 seed 7: 1 of 4"
    assert lines[2].startswith("toy 350 px early fold 2 seed 7: 3 of 4, about ")
    assert lines[2].endswith(" s left")
    assert lines[-1].startswith("4 cells computed in ")


def counted(folder, fail=(), end=()):
    """Stands in for a measurement in another process: each call leaves a file in `folder`."""
    folder.mkdir(exist_ok=True)

    def compute(cell):
        folder.joinpath(f"{cell.model}-{cell.fold}").touch()
        if (cell.model, cell.fold) in end:
            os._exit(1)
        if (cell.model, cell.fold) in fail:
            raise RuntimeError("no luck\nat all")
        values = np.random.default_rng(cell.fold).normal(size=3)
        frame = pd.DataFrame({"patch": [0, 1, 2], "p:x": values})
        frame.attrs = {"note": cell.model}
        return frame

    return compute


def test_any_number_of_workers_gives_the_same(tmp_path, capsys):
    """Frames, details and order as from one process; computed elsewhere, and once."""
    alone = run_cells(CELLS, counted(tmp_path / "calls"), tmp_path / "one", inputs=INPUTS)

    def elsewhere(cell):
        frame = compute(cell)
        frame.attrs["process"] = os.getpid()
        return frame

    compute = counted(tmp_path / "calls")
    arguments = {"folder": tmp_path / "two", "inputs": INPUTS, "workers": 2}
    found = run_cells(CELLS, elsewhere, **arguments)
    assert found == [cell.path(tmp_path / "two") for cell in CELLS]
    pd.testing.assert_frame_equal(read_predictions(found), read_predictions(alone))
    for one, two in zip(alone, found, strict=True):
        one, two = read_provenance(one), read_provenance(two)
        assert two["details"].pop("process") != os.getpid()
        assert two["seconds"] >= 0
        for name in ("cell", "inputs", "details", "device"):
            assert one[name] == two[name]
    assert "4/4" in capsys.readouterr().err  # the bar
    for path in files(tmp_path / "calls"):
        path.unlink()
    assert run_cells(CELLS, elsewhere, **arguments) == found
    assert files(tmp_path / "calls") == []


def test_a_failed_cell_of_several_workers_is_named_and_the_others_kept(tmp_path):
    """One of four fails, when the others are stored: a second run computes it and no more."""
    calls, runs = tmp_path / "calls", tmp_path / "runs"

    count = counted(calls, fail=[("late", 1)])

    def compute(cell):
        deadline = time.monotonic() + 60
        while cell.model == "late" and cell.fold == 1 and time.monotonic() < deadline:
            if len(list(runs.rglob("*.parquet"))) == 3:
                break
            time.sleep(0.02)
        return count(cell)

    arguments = {"folder": runs, "inputs": INPUTS, "workers": 2}
    with pytest.raises(
        SweepError,
        match=r"late fold 1 seed 7: RuntimeError: no luck at all; 3 cells .* run again",
    ) as caught:
        run_cells(CELLS, compute, **arguments)
    assert "RuntimeError" in str(caught.value.__cause__)
    assert files(runs) == sorted(cell.path(runs) for cell in CELLS[:3])
    for path in files(calls):
        path.unlink()
    run_cells(CELLS, counted(calls), **arguments)
    assert [path.name for path in files(calls)] == ["late-1"]


def test_a_cell_that_ends_every_worker_is_an_error(tmp_path):
    """As when there is too little memory for it: no waiting for ever, and no half file.

    The one that is named is this one, or one that three times was next on the same worker.
    """
    with pytest.raises(SweepError, match=r"fold \d .*each worker .* ended.* use fewer") as raised:
        run_cells(
            CELLS, counted(tmp_path / "calls", end=[("early", 1)]), tmp_path / "runs",
            inputs=INPUTS, workers=2,
        )  # fmt: skip
    assert "run again to go on" in str(raised.value)
    assert all(path.suffix == ".parquet" for path in files(tmp_path / "runs"))
    arguments = {"inputs": INPUTS, "workers": 2}
    assert len(run_cells(CELLS, counted(tmp_path / "calls"), tmp_path / "runs", **arguments)) == 4


def test_interrupt_ends_the_workers_and_keeps_what_is_written(tmp_path, monkeypatch):
    """Ctrl-C while the second result is written."""
    written = []

    def write(frame, path, facts, beside):
        if written:
            raise KeyboardInterrupt
        written.append(path)
        write_predictions(frame, path, facts, beside)

    monkeypatch.setattr(computing, "write_predictions", write)
    with pytest.raises(KeyboardInterrupt):
        run_cells(CELLS, counted(tmp_path / "c"), tmp_path / "runs", inputs=INPUTS, workers=2)
    assert files(tmp_path / "runs") == written


def test_a_worker_that_is_free_goes_on_with_the_next_set(tmp_path):
    """The last cell of the first set ends only after the same cell of the second has ended."""
    first = CellSet(CELLS[:3], tmp_path / "a", INPUTS)
    second = CellSet(CELLS, tmp_path / "b", INPUTS)
    last, awaited = CELLS[2], CELLS[2].path(second.folder)

    def compute(cell):
        deadline = time.monotonic() + 60
        while cell == last and not awaited.exists() and time.monotonic() < deadline:
            time.sleep(0.02)
        return pd.DataFrame({"p:x": [float(cell != last or awaited.exists())]})

    def doubled(cell):
        return pd.DataFrame({"p:x": [2.0]})

    run_cell_sets([(first, compute), (second, doubled)], workers=2)
    assert [read_cell(path)[1]["p:x"].to_pylist() for path in first.paths] == [[1.0]] * 3
    assert [read_cell(path)[1]["p:x"].to_pylist() for path in second.paths] == [[2.0]] * 4
    assert files(tmp_path) == sorted([*first.paths, *second.paths])


def test_the_next_set_is_made_when_no_cell_waits_for_a_worker(tmp_path):
    """Of four cells on two workers, at least two are done then; large data lie in one file."""
    done = []

    def cell_sets():
        for number in range(3):
            done.append(len(files(tmp_path / str(number - 1))))
            data = np.full(40_000, number)
            yield (
                CellSet(CELLS, tmp_path / str(number), INPUTS),
                lambda cell, data=data: pd.DataFrame({"p:x": [data.mean()]}),
            )

    run_cell_sets(cell_sets(), workers=2)
    assert done[0] == 0
    assert all(2 <= count - 1 <= 4 for count in done[1:])  # less the file of what is sent
    found = [read_cell(path)[1]["p:x"][0].as_py() for path in files(tmp_path)]
    assert found == [0.0] * 4 + [1.0] * 4 + [2.0] * 4


@pytest.mark.parametrize("number_of_workers", [0, 2])
def test_data_of_a_set_are_not_held_while_the_next_are_made(tmp_path, number_of_workers):
    """Neither by value nor, where they are large, as what is written into the file."""
    held, references = [], []

    def cell_sets():
        for number, size in enumerate((10, 40_000, 40_000)):
            gc.collect()
            held.append([reference() for reference in references if reference() is not None])
            data = np.full(size, number)
            references.append(weakref.ref(data))
            yield (
                CellSet(CELLS[:3], tmp_path / str(number), INPUTS),
                lambda cell, data=data: pd.DataFrame({"p:x": [data.mean()]}),
            )
            del data

    run_cell_sets(cell_sets(), workers=number_of_workers)
    assert held == [[], [], []]


def test_a_cell_in_two_sets_is_refused(tmp_path):
    """One would overwrite the other; the first set is computed."""
    sets = [CellSet(CELLS[:2], tmp_path, INPUTS), CellSet(CELLS[1:], tmp_path, INPUTS)]
    with pytest.raises(SweepError, match=r"early fold 1 seed 7: expected in one set .* 2 cells"):
        run_cell_sets([(each, Compute()) for each in sets])


def test_a_change_of_the_code_ends_a_run_on_workers(tmp_path, monkeypatch):
    """What the workers would compute by the old code would be stored as of the new."""

    def cell_sets():
        for number in range(2):
            if number:
                monkeypatch.setattr(workers, "_code", lambda: "another")
            yield CellSet(CELLS, tmp_path / str(number), INPUTS), counted(tmp_path / "calls")

    with pytest.raises(SweepError, match=r"expected the code that the run began with, .*; run"):
        run_cell_sets(cell_sets(), workers=2)
    assert not (tmp_path / "1").exists() or files(tmp_path / "1") == []


@pytest.mark.parametrize("number_of_workers", [0, 2])
def test_an_error_in_making_the_next_set_keeps_what_is_done(tmp_path, number_of_workers):
    """The cells before it are computed first; with none before, the error stands by itself."""

    def cell_sets(fail_at):
        for number in range(2):
            if number == fail_at:
                raise SweepError("no patches")
            yield CellSet(CELLS[:3], tmp_path / str(number), INPUTS), counted(tmp_path / "calls")

    with pytest.raises(SweepError, match=r"^no patches$"):
        run_cell_sets(cell_sets(0), workers=number_of_workers)
    with pytest.raises(SweepError, match=r"^no patches; 3 cells computed before are kept, run "):
        run_cell_sets(cell_sets(1), workers=number_of_workers)
    assert files(tmp_path / "0") == sorted(cell.path(tmp_path / "0") for cell in CELLS[:3])


def test_workers_take_other_kinds_of_cell_and_note_what_they_read(tmp_path, monkeypatch):
    """A cell needs a path and a name; files are noted from the folder that the call is made in."""

    @dataclass(frozen=True)
    class Stack:
        image: str

        def path(self, folder):
            return Path(folder) / f"{self.image}.parquet"

    def compute(stack):
        return pd.DataFrame({"size": [note_file(Path(f"{stack.image}.txt")).stat().st_size]})

    for name in ("first", "second"):  # the processes are the same, the folder is another
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        Path("a.txt").write_text("a" * len(name))
        Path("b.txt").write_text("")
        with noted_files() as noted:
            paths = run_cells([Stack("a"), Stack("b")], compute, Path("runs"), inputs={}, workers=2)
        assert noted.keys() == {"a.txt", "b.txt", "runs/a.parquet", "runs/b.parquet"}
        assert pd.read_parquet(paths[0])["size"].tolist() == [len(name)]
        assert read_provenance(paths[1])["cell"] == {"image": "b"}


def test_predictions_of_other_classes_do_not_mix(tmp_path):
    """Columns are compared, not filled with NaN."""

    def compute(cell):
        return pd.DataFrame({"patch": [0], f"p:{cell.model}": [1.0]})

    paths = run_cells(CELLS, compute, tmp_path, inputs=INPUTS)
    with pytest.raises(SweepError, match=r"expected columns .*p:early.* found .*p:late"):
        read_predictions(paths)
    with pytest.raises(SweepError, match="expected at least one file"):
        read_predictions([])
    with pytest.raises(SweepError, match="found none; run the sweep"):
        read_predictions([tmp_path / "absent.parquet"])


def test_network_seeds_differ_between_folds_and_seeds():
    """30 folds under two seeds start from 60 networks; the same ones on every machine."""
    seeds = [network_seed(seed, fold) for seed in (7, 8) for fold in range(30)]
    assert len(set(seeds)) == 60
    assert network_seed(7, 0) == np.random.SeedSequence(7, spawn_key=(0,)).generate_state(1)[0]


CHANNELS = ("a", "b", "c")
SETTINGS = load_profile("smoke")
PROFILE = SETTINGS.model_copy(
    update={
        "encoder": EncoderSettings(kind="compact", input_px=16, filters=(4, 4)),
        "training": SETTINGS.training.model_copy(update={"batch_size": 8, "epochs": 2}),
    }
)


def toy_patches():
    """Twelve images of two classes, four patches each."""
    image = np.repeat(np.arange(12), 4)
    table = pd.DataFrame(
        {
            "image": [f"image-{i}" for i in image],
            "label": [("round", "long")[i % 2] for i in image],
            "group": [f"group-{i}" for i in image],
            "z": 0,
            "y": 0,
            "x": 0,
        }
    )
    patches = np.random.default_rng(0).integers(0, 256, (48, 16, 16, 3), dtype=np.uint8)
    return PatchSet(patches, table, CHANNELS, 0.1)


def toy_folds():
    """Two folds: the even or the odd pairs of images are tested, two others validate."""
    rows = []
    for fold in range(2):
        for i in range(12):
            test = i // 2 % 2 == fold
            part = "test" if test else "validation" if i < 4 else "train"
            rows.append((fold, f"group-{i}", ("round", "long")[i % 2], part))
    return pd.DataFrame(rows, columns=["fold", "group", "label", "part"])


def train(folder, models, profile=PROFILE, patch_set=None, folds=None, workers=0):
    return train_cells(
        toy_patches() if patch_set is None else patch_set,
        toy_folds() if folds is None else folds,
        models=models,
        profile=profile,
        dataset="toy",
        size_px=350,
        folder=folder,
        seed=3,
        workers=workers,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """All models on the toy patches, trained once for the tests below."""
    pytest.importorskip("keras")
    folder = tmp_path_factory.mktemp("runs")
    return folder, train(folder, [*CHANNELS, "early", "intermediate", "late"])


@pytest.mark.keras
def test_train_cells_predicts_every_row_outside_training(trained):
    """Test rows of both folds are all patches once; image, group and label are the table's."""
    _, predictions = trained
    table = toy_patches().table
    assert predictions["model"].unique().tolist() == [*CHANNELS, "early", "intermediate", "late"]
    for _, of_model in predictions.groupby("model"):
        tested = of_model[of_model["part"] == "test"]
        assert sorted(tested["patch"]) == list(range(48))
        assert (of_model["part"] == "validation").sum() == 2 * 2 * 4
        for column in ("image", "group", "label"):
            expected = table[column].to_numpy()[of_model["patch"]]
            assert (of_model[column].to_numpy() == expected).all()
    probabilities = predictions[["p:long", "p:round"]]
    assert (probabilities.dtypes == np.float32).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.keras
def test_folds_without_validation_are_trained_to_the_end(tmp_path):
    """All epochs, with the last weights: `train_fold` without validation, from the same seed."""
    from organelle_fusion import training

    profile = PROFILE.model_copy(
        update={"training": PROFILE.training.model_copy(update={"epochs": 3, "patience": 1})}
    )
    patch_set = toy_patches()
    folds = make_folds(patch_set.table, n_splits=2, validation_share=0, seed=1)
    found = train_cells(
        patch_set, folds, models=["early"], profile=profile, dataset="toy", size_px=350,
        folder=tmp_path, seed=3, only_folds=[0], workers=0,
    )  # fmt: skip
    assert set(found["part"]) == {"test"}
    cell = Cell("toy", 350, "early", 0, 3)
    history = read_provenance(cell.path(tmp_path))["details"]["history"]
    assert [epoch["epoch"] for epoch in history] == [1, 2, 3]
    assert "val_loss" not in history[0]
    model, build = training.compiled_model("early", CHANNELS, 2, profile.encoder, profile.training)
    training.reset_model(model, build, network_seed(3, 0))
    expected, _ = training.train_fold(
        model, patch_set.patches, patch_set.class_numbers,
        fold_parts(folds, patch_set.table["group"], 0),
        settings=profile.training, seed=network_seed(3, 0), validated=False,
    )  # fmt: skip
    np.testing.assert_allclose(found[["p:long", "p:round"]], expected, atol=1e-6)


@pytest.mark.keras
def test_each_organelle_sees_its_own_channel(trained):
    """The shared single-channel model is reset and given other pixels: three sets of scores."""
    folder, predictions = trained
    by_model = predictions.groupby("model")["p:long"].agg(list)
    for one, other in [("a", "b"), ("b", "c"), ("a", "c")]:
        assert np.abs(np.subtract(by_model[one], by_model[other])).max() > 1e-4
    alone = train(folder.parent / "alone", ["b"])
    np.testing.assert_allclose(alone["p:long"], by_model["b"], atol=1e-6)


@pytest.mark.keras
def test_late_is_the_weighted_mean_of_the_stored_singles(trained):
    """Recomputed from the weights in the provenance."""
    folder, predictions = trained
    rows = {name: of_model["p:long"] for name, of_model in predictions.groupby("model")}
    stored = late_weights([Cell("toy", 350, "late", fold, 3) for fold in (1, 0)], folder)
    assert stored["fold"].tolist() == [0, 1]
    for fold in (0, 1):
        weights = stored.drop(columns="fold").loc[fold].to_dict()
        assert list(weights) == list(CHANNELS)
        assert sum(weights.values()) == pytest.approx(1)
        of_fold = (predictions.loc[rows["late"].index, "fold"] == fold).to_numpy()
        mean = sum(weights[name] * rows[name].to_numpy()[of_fold] for name in CHANNELS)
        np.testing.assert_allclose(rows["late"].to_numpy()[of_fold], mean, rtol=1e-5)


@pytest.mark.keras
def test_stored_weights_give_the_stored_predictions(trained):
    """Later chapters load them into a new model of the same architecture."""
    from organelle_fusion.models import build_model
    from organelle_fusion.training import predict_proba

    folder, predictions = trained
    model = build_model(
        "intermediate",
        channels=CHANNELS,
        n_classes=2,
        encoder=PROFILE.encoder,
        training=PROFILE.training,
    )
    for fold in (0, 1):
        model.load_weights(Cell("toy", 350, "intermediate", fold, 3).weights_path(folder))
        rows = predictions[(predictions["model"] == "intermediate") & (predictions["fold"] == fold)]
        found = predict_proba(model, toy_patches().patches[rows["patch"]])
        np.testing.assert_allclose(found[:, 0], rows["p:long"], atol=1e-5)


@pytest.mark.keras
def test_provenance_holds_history_seed_backend_and_device(trained):
    """What a reader needs in order to believe, or repeat, a training."""
    folder, _ = trained
    facts = read_provenance(Cell("toy", 350, "early", 1, 3).path(folder))
    assert facts["inputs"].keys() == {"settings", "data", "folds", "code", "backend"}
    assert facts["inputs"]["backend"] == sys.modules["keras"].config.backend()
    assert facts["device"] in {"cpu", "gpu", "tpu"}
    assert facts["details"]["network_seed"] == network_seed(3, 1)
    history = facts["details"]["history"]
    assert [row["epoch"] for row in history] == list(range(1, len(history) + 1))
    assert set(history[0]) == {"epoch", "loss", "accuracy", "val_loss", "val_accuracy"}


@pytest.mark.keras
def test_processes_train_the_same_networks(trained, tmp_path):
    """But for rounding, which other numbers of threads do in another order; weights beside."""
    _, here = trained
    there = train(tmp_path, ["early"], workers=2)
    own = here[here["model"] == "early"].reset_index(drop=True)
    columns = ["p:long", "p:round"]
    pd.testing.assert_frame_equal(there.drop(columns=columns), own.drop(columns=columns))
    # Up to 4e-4 was seen between processors; networks of other seeds differ by 0.04 and more.
    np.testing.assert_allclose(there[columns], own[columns], atol=2e-3)
    assert len([path for path in files(tmp_path) if path.name.endswith(".weights.h5")]) == 2
    facts = read_provenance(Cell("toy", 350, "early", 1, 3).path(tmp_path))
    assert facts["device"] == "cpu"
    assert facts["details"]["network_seed"] == network_seed(3, 1)


@pytest.mark.keras
def test_only_what_matters_trains_again(trained, monkeypatch):
    """Other bootstrap repeats: nothing. Another dropout: every network."""
    folder, _ = trained
    cells = []

    def refuse(cell, *arguments):
        cells.append(cell)
        raise RuntimeError("trained again")

    monkeypatch.setattr(sweep, "_train", refuse)
    train(folder, ["early", "late"], PROFILE.model_copy(update={"bootstrap_repeats": 333}))
    assert cells == []
    training = PROFILE.training.model_copy(update={"dropout": 0.1})
    with pytest.raises(SweepError, match="trained again"):
        train(folder, ["early"], PROFILE.model_copy(update={"training": training}))
    assert len(cells) == 1


@pytest.mark.keras
def test_stored_run_does_not_import_keras(trained, tmp_path):
    """A notebook whose cells are all stored starts in a second, not in twenty."""
    folder, predictions = trained
    toy_patches().save(tmp_path)
    toy_folds().to_csv(tmp_path / "folds.csv", index=False)
    (tmp_path / "profile.json").write_text(PROFILE.model_dump_json())
    code = f"""
import sys
from pathlib import Path
import pandas as pd
from organelle_fusion.config import Profile
from organelle_fusion.patchset import PatchSet
from organelle_fusion.sweep import train_cells
here = Path({str(tmp_path)!r})
predictions = train_cells(
    PatchSet.load(here), pd.read_csv(here / "folds.csv"),
    models=["a", "b", "c", "early", "intermediate", "late"],
    profile=Profile.model_validate_json((here / "profile.json").read_text()),
    dataset="toy", size_px=350, folder=Path({str(folder)!r}), seed=3,
)
assert not {{"keras", "tensorflow", "jax"}} & set(sys.modules), "Keras was imported"
print(len(predictions), float(predictions["p:long"].sum()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = done.stdout.splitlines()[-1]
    assert last == f"{len(predictions)} {float(predictions['p:long'].sum())}"


def test_wrong_requests_are_refused(tmp_path):
    """Unknown models, patches of another size, leaking folds: before anything is trained."""
    with pytest.raises(SweepError, match=r"model middle: expected one of a, b, c, early"):
        train(tmp_path, ["middle"])
    bigger = PROFILE.model_copy(update={"encoder": EncoderSettings(kind="compact", input_px=20)})
    with pytest.raises(SweepError, match=r"expected 20 × 20 px .* found 16 × 16; extract"):
        train(tmp_path, ["early"], bigger)
    leaking = toy_folds()
    leaking.loc[len(leaking)] = [0, "group-0", "round", "train"]
    with pytest.raises(FoldError, match="group-0"):
        train(tmp_path, ["early"], folds=leaking)
    assert files(tmp_path) == []


def test_several_trainings_at_once_are_as_one_after_another(trained, tmp_path):
    """Of two data sets, late fusion and another profile among them, on two workers."""
    dark = toy_patches()
    dark = PatchSet(dark.patches // 4, dark.table, dark.channels, dark.pixel_size_um)
    faster = PROFILE.model_copy(
        update={"training": PROFILE.training.model_copy(update={"learning_rate": 0.1})}
    )
    trainings = {
        "late": {"patch_set": toy_patches(), "models": ["late", "early"], "folder": tmp_path / "a"},
        "dark": {"patch_set": dark, "models": ["early"], "folder": tmp_path / "b"},
        "faster": {
            "patch_set": dark, "models": ["early"], "folder": tmp_path / "c", "profile": faster,
        },
    }  # fmt: skip
    common = {"folds": toy_folds(), "dataset": "toy", "size_px": 350, "seed": 3}
    found = train_all(trainings.items(), profile=PROFILE, workers=2, **common)
    assert list(found) == list(trainings)
    with pytest.raises(SweepError, match="training late: expected once, found twice"):
        train_all([("late", trainings["late"])] * 2, profile=PROFILE, **common)
    for name, own in trainings.items():
        again = own | {"folder": tmp_path / f"alone-{name}"}
        alone = train_cells(**common | {"profile": PROFILE} | again, workers=2)
        pd.testing.assert_frame_equal(found[name], alone)
    assert found["late"]["model"].unique().tolist() == ["late", "early"]
    assert not np.allclose(found["dark"]["p:long"], found["faster"]["p:long"])


def test_sizes_are_trained_apart_in_the_same_folds(trained, tmp_path):
    """Predictions of both sizes, told apart by their size, with a file each; one in memory."""
    references = []

    def patch_sets():
        for size in (200, 350):
            gc.collect()
            assert all(reference() is None for reference in references)
            patch_set = toy_patches()
            references.append(weakref.ref(patch_set))
            yield size, patch_set
            del patch_set

    found = train_sizes(
        patch_sets(),
        toy_folds(),
        models=["early"],
        profile=PROFILE,
        dataset="toy",
        folder=tmp_path,
        seed=7,
        workers=0,
    )
    assert sorted(found["size_px"].unique()) == [200, 350]
    assert {path.parts[-3] for path in tmp_path.rglob("*.parquet")} == {"200px", "350px"}
    columns = [name for name in found if name != "size_px"]
    small, large = (part[columns].reset_index(drop=True) for _, part in found.groupby("size_px"))
    pd.testing.assert_frame_equal(small, large)  # one seed and the same patches
