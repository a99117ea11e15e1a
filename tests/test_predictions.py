"""Prediction files: whatever happens to one afterwards is noticed, and costs its own cell only."""

import json
import resource
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from organelle_fusion import predictions
from organelle_fusion.computing import run_cells
from organelle_fusion.predictions import (
    Cell,
    SweepError,
    load_weights,
    read_cell,
    read_predictions,
    singles_hash,
    stored_provenance,
    write_predictions,
)

CELLS = [Cell("toy", 350, "early", fold, 7) for fold in (0, 1)]
INPUTS = {"data": "d"}


def frame_of(cell):
    return pd.DataFrame(
        {
            "patch": [0, 1, 2],
            "label": ["a", None, "b"],
            "p:a": np.float32([0.1, cell.fold, np.nan]),
            "kept": [True, False, True],
        }
    )


@pytest.fixture
def swept(tmp_path):
    """Compute the two cells in the folder; gives the folds that were computed."""

    def sweep():
        computed = []

        def compute(cell):
            computed.append(cell.fold)
            cell.weights_path(tmp_path).parent.mkdir(parents=True, exist_ok=True)
            cell.weights_path(tmp_path).write_bytes(bytes([cell.fold] * 100))
            return frame_of(cell)

        run_cells(
            CELLS,
            compute,
            tmp_path,
            inputs=INPUTS,
            beside=lambda cell: [cell.weights_path(tmp_path)],
        )
        return computed

    assert sweep() == [0, 1]
    return sweep


def edited(path, _):
    """By somebody who keeps all that the file says of itself."""
    table = pq.read_table(path)
    better = table.set_column(2, "p:a", pa.array(np.float32([0.9, 1, 1])))
    pq.write_table(better.replace_schema_metadata(table.schema.metadata), path)


def edited_by_pandas(path, _):
    pd.read_parquet(path).assign(patch=[2, 1, 0]).to_parquet(path)


def edited_facts(path, _):
    table = pq.read_table(path)
    metadata = dict(table.schema.metadata)
    facts = json.loads(metadata[b"organelle_fusion"])
    facts["seconds"] = 0.5
    metadata[b"organelle_fusion"] = json.dumps(facts).encode()
    pq.write_table(table.replace_schema_metadata(metadata), path)


def exchanged(path, weights):
    other = path.with_name(path.name.replace("fold-01", "fold-00"))
    shutil.copy(other, path)


def one_bit(path, weights):
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)


def weights_edited(path, weights):
    weights.write_bytes(b"other")


def weights_torn(path, weights):
    weights.write_bytes(weights.read_bytes()[:50])


def weights_exchanged(path, weights):
    shutil.copy(weights.with_name(weights.name.replace("fold-01", "fold-00")), weights)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (edited, "fold-01-seed-7.parquet: expected the rows that were written"),
        (edited_by_pandas, "expected a provenance with a checksum"),
        (edited_facts, "expected the provenance that was written, found another"),
        (exchanged, "'fold': 1, 'seed': 7}, found {'dataset': 'toy', 'size_px': 350, "),
        (one_bit, "not a whole parquet file"),
        (weights_edited, "weights.h5: expected the content that fold-01-seed-7.parquet names"),
        (weights_torn, "weights.h5: expected the content that fold-01-seed-7.parquet names"),
        (weights_exchanged, "weights.h5: expected the content that fold-01-seed-7.parquet names"),
        (lambda path, weights: weights.unlink(), "weights.h5: expected a file, found none"),
    ],
)
def test_damage_is_noticed_and_costs_one_cell(swept, tmp_path, capsys, damage, words):
    """One line says which file and why, the cell is computed again, and all is as it was."""
    path, weights = CELLS[1].path(tmp_path), CELLS[1].weights_path(tmp_path)
    rows = read_predictions([path])
    capsys.readouterr()
    damage(path, weights)
    assert swept() == [1]
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "computed again" in line]
    assert words in line
    pd.testing.assert_frame_equal(read_predictions([path]), rows)
    assert weights.read_bytes() == bytes([1] * 100)
    assert swept() == []


def test_rows_are_checked_whenever_they_are_read(swept, tmp_path):
    """Nothing is scored that nobody predicted."""
    edited(CELLS[1].path(tmp_path), None)
    with pytest.raises(SweepError, match=r"fold-01.* expected the rows that were written"):
        read_predictions([cell.path(tmp_path) for cell in CELLS])


def test_the_checksum_is_of_content_not_of_bytes(tmp_path):
    """Another compression, or text in a dictionary, holds the same rows."""
    frame = frame_of(CELLS[0])
    write_predictions(frame, tmp_path / "a.parquet", {})
    table = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(table, tmp_path / "b.parquet", compression="zstd", use_dictionary=False)
    coded = table.set_column(1, "label", table["label"].dictionary_encode())
    pq.write_table(coded.replace_schema_metadata(table.schema.metadata), tmp_path / "c.parquet")
    contents = {read_cell(tmp_path / f"{name}.parquet")[0]["content"] for name in "abc"}
    assert len(contents) == 1
    for change in ({"patch": [0, 1, 3]}, {"label": ["a", "None", "b"]}, {"p:a": [0.1, 0, np.nan]}):
        write_predictions(frame.assign(**change), tmp_path / "d.parquet", {})
        assert read_cell(tmp_path / "d.parquet")[0]["content"] not in contents


def test_late_fusion_depends_on_rows_and_not_on_times(tmp_path):
    paths = [tmp_path / f"{name}.parquet" for name in "abc"]
    write_predictions(frame_of(CELLS[0]), paths[0], {"seconds": 1})
    write_predictions(frame_of(CELLS[0]), paths[1], {"seconds": 2})
    write_predictions(frame_of(CELLS[1]), paths[2], {"seconds": 1})
    first, again, other = (singles_hash([path]) for path in paths)
    assert first == again != other


def test_what_came_from_something_else_is_no_damage(swept, tmp_path):
    """Other inputs: the cell is computed anew without a word, whatever is beside it."""
    CELLS[1].weights_path(tmp_path).unlink()
    found = stored_provenance(
        CELLS[1].path(tmp_path), CELLS[1], {"data": "x"}, [CELLS[1].weights_path(tmp_path)]
    )
    assert found is None


@pytest.fixture
def little_room():
    """Files of this process end at 4 kB, as on a full disk; for the superuser too."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_line_and_leaves_what_was_there(swept, tmp_path, little_room):
    """A file that does not fit is not begun to be used, and the sweep says what is kept."""
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")}

    def large(cell):
        return pd.DataFrame({"p:a": np.random.default_rng(cell.fold).normal(size=20_000)})

    with pytest.raises(SweepError) as caught:
        run_cells(CELLS, large, tmp_path, inputs={"data": "x"})
    assert "\n" not in str(caught.value)
    assert "expected to write it, found no way to (" in str(caught.value)
    assert str(caught.value).endswith("see to permissions and free space")  # nothing is kept yet
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.parquet")} == before
    assert not [path for path in tmp_path.rglob(".*") if path.is_file()]


def test_a_folder_that_may_only_be_read_is_one_line(swept, tmp_path, monkeypatch):
    """Stored cells are taken; a cell that must be computed cannot be stored, and that is said."""

    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(predictions, "atomic_path", refused)
    assert swept() == []
    with pytest.raises(SweepError, match=r"fold-00.* no way to \(Permission denied\); see to"):
        run_cells(CELLS, frame_of, tmp_path, inputs={"data": "x"})


class Network:
    """Takes the text of a file for its weights; ``other`` is of another architecture."""

    def load_weights(self, path):
        self.text = path.read_text()
        if self.text == "other":
            raise ValueError("shapes")


def test_weights_are_those_that_the_predictions_were_made_by(tmp_path):
    """Without predictions or weights, of another training, or of another architecture: a line."""
    cell, network = CELLS[0], Network()
    with pytest.raises(SweepError):
        load_weights(network, cell, tmp_path)
    path = cell.weights_path(tmp_path)
    write_predictions(frame_of(cell), cell.path(tmp_path), {})
    with pytest.raises(SweepError, match=f"weights of {cell}, found none; run the chapter"):
        load_weights(network, cell, tmp_path)
    path.write_text("own", "utf-8")
    write_predictions(frame_of(cell), cell.path(tmp_path), {}, [path])
    load_weights(network, cell, tmp_path)
    assert network.text == "own"
    path.write_text("changed", "utf-8")
    with pytest.raises(SweepError, match="predictions were made by, found others"):
        load_weights(network, cell, tmp_path)
    path.write_text("other", "utf-8")
    write_predictions(frame_of(cell), cell.path(tmp_path), {}, [path])
    with pytest.raises(SweepError, match="found those of another architecture; run"):
        load_weights(network, cell, tmp_path)
    path.unlink()
    with pytest.raises(SweepError, match="found none"):
        load_weights(network, cell, tmp_path)
