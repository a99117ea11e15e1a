"""The prediction files: one per cell of a sweep, with provenance and checksums inside."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from organelle_fusion.config import UserError
from organelle_fusion.provenance import atomic_path, file_hash, hash_of, note_file

if TYPE_CHECKING:
    import keras

WEIGHTS_SUFFIX = ".weights.h5"

_METADATA_KEY = b"organelle_fusion"
_CHECKSUM_KEY = b"organelle_fusion_sha256"  # of the value of the other key

_REMEDY = "delete it and run the sweep again"
_AGAIN = "run the chapter that trains it again"


class SweepError(UserError):
    """A cell that failed or cannot be read; the message is one line."""


@dataclass(frozen=True, order=True)
class Cell:
    """One training: what it is called, and where its predictions lie."""

    dataset: str
    size_px: int
    model: str
    fold: int
    seed: int

    def path(self, folder: Path) -> Path:
        """File of the predictions below the folder of the sweep."""
        name = f"fold-{self.fold:02d}-seed-{self.seed}.parquet"
        return Path(folder) / self.dataset / f"{self.size_px}px" / self.model / name

    def weights_path(self, folder: Path) -> Path:
        """File of the trained weights, beside the predictions; late fusion has none."""
        return self.path(folder).with_suffix(WEIGHTS_SUFFIX)

    def __str__(self) -> str:
        return f"{self.dataset} {self.size_px} px {self.model} fold {self.fold} seed {self.seed}"


def prediction_frame(
    table: pd.DataFrame,
    rows: np.ndarray,
    parts: np.ndarray,
    classes: Sequence[str],
    probabilities: np.ndarray,
    kept: Sequence[str] = ("image", "group", "label"),
) -> pd.DataFrame:
    """Predictions of one cell as `run_cells` stores them.

    Parameters
    ----------
    table
        All patches (or objects), N rows.
    rows
        Numbers of the n rows that were predicted.
    parts
        Part of each row of `table`, (N,).
    classes, probabilities
        Names of the K classes, and (n, K).
    kept
        Columns of `table` that are stored.

    Returns
    -------
    DataFrame
        patch (of `rows`), the columns `kept`, part, and ``p:<class>`` of each class.
    """
    frame = table[list(kept)].iloc[rows].reset_index(drop=True)
    frame.insert(0, "patch", rows)
    frame["part"] = parts[rows]
    frame[[f"p:{name}" for name in classes]] = probabilities
    return frame


def write_predictions(
    frame: pd.DataFrame, path: Path, facts: dict, beside: Iterable[Path] = ()
) -> None:
    """Write a frame with its provenance and checksums, atomically.

    Parameters
    ----------
    frame
        Its rows; ``frame.attrs`` become the ``details`` of the provenance.
    path
        File that is written.
    facts
        Provenance, see `read_provenance`.
    beside
        Files that are there already and belong to the frame, such as the weights.

    Raises
    ------
    SweepError
        The file cannot be written: the disk is full, or the folder may only be read.
    """
    details = dict(frame.attrs)
    frame = frame.copy(deep=False)
    frame.attrs = {}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    facts = {
        **facts,
        "details": details,
        "content": _content_hash(table),
        "beside": {file.name: file_hash(file) for file in beside},
    }
    text = json.dumps(facts).encode()
    metadata = {**(table.schema.metadata or {}), _METADATA_KEY: text, _CHECKSUM_KEY: _sha256(text)}
    table = table.replace_schema_metadata(metadata)
    try:
        with atomic_path(path) as temporary:
            pq.write_table(table, temporary, write_page_checksum=True)
    except OSError as error:
        reason = " ".join((error.strerror or str(error)).split())
        raise SweepError(
            f"{path}: expected to write it, found no way to ({reason}); see to permissions and "
            "free space"
        ) from error


def read_provenance(path: Path) -> dict:
    """What a prediction file came from.

    Returns
    -------
    dict
        ``cell``, ``inputs`` (hashes), ``device``, ``seconds``, ``details`` (such as the training
        history), ``content`` (hash of the rows), ``beside`` (name of a file beside it → its hash),
        versions, machine and time.

    Raises
    ------
    SweepError
        The file does not exist, is not whole, or was not written by `run_cells`, or its provenance
        was changed.
    """
    return _read(path, rows=False)[0]


def checked_weights(cell: Cell, folder: Path) -> Path:
    """File of the trained weights of a cell, which lies beside its predictions.

    Parameters
    ----------
    cell, folder
        As for `load_weights`.

    Raises
    ------
    SweepError
        Predictions or weights are not there, or the weights are of another training than the
        predictions.
    """
    path = cell.weights_path(folder)
    written = read_provenance(cell.path(folder))["beside"].get(path.name)
    if written is None or not path.is_file():
        raise SweepError(f"{path}: expected the weights of {cell}, found none; {_AGAIN}")
    if file_hash(note_file(path)) != written:
        raise SweepError(
            f"{path}: expected the weights that its predictions were made by, found others; "
            f"{_AGAIN}"
        )
    return path


def load_weights(network: "keras.Model", cell: Cell, folder: Path) -> None:
    """Load the trained weights of a cell into a network of its architecture.

    Parameters
    ----------
    network
        Keras model.
    cell
        Its weights lie beside its predictions.
    folder
        Root of the stored files.

    Raises
    ------
    SweepError
        See `checked_weights`; or they are of another architecture than the network.
    """
    path = checked_weights(cell, folder)
    try:
        network.load_weights(path)
    except ValueError as error:
        raise SweepError(
            f"{path}: expected weights of the profile's network, found those of another "
            f"architecture; {_AGAIN}"
        ) from error


def read_cell(path: Path) -> tuple[dict, pa.Table]:
    """Provenance and rows of a prediction file, both checked by their checksums.

    Returns
    -------
    dict
        See `read_provenance`.
    pyarrow.Table
        The rows.

    Raises
    ------
    SweepError
        As `read_provenance`; or the rows are not those that were written.
    """
    facts, table = _read(path, rows=True)
    if (found := _content_hash(table)) != facts["content"]:
        raise SweepError(
            f"{path}: expected the rows that were written (SHA-256 {facts['content'][:12]}), found "
            f"others ({found[:12]}); {_REMEDY}"
        )
    return facts, table


def stored_provenance(
    path: Path, cell: Any, inputs: Mapping[str, str], beside: Iterable[Path] = ()
) -> dict | None:
    """Provenance of a cell that was computed from these inputs before and is whole; else None.

    Parameters
    ----------
    path
        File of the cell.
    cell
        Dataclass that names it.
    inputs
        Hashes of everything that the cell depends on.
    beside
        Files that belong to it.

    Raises
    ------
    SweepError
        The cell is no use though it was computed: its file, or one beside it, is torn, edited,
        exchanged or gone.
    """
    if not path.exists():
        return None
    facts = read_provenance(path)
    if facts["inputs"] != dict(inputs):
        return None
    own = json.loads(json.dumps(asdict(cell)))
    if facts["cell"] != own:
        raise SweepError(f"{path}: expected the cell {own}, found {facts['cell']}; {_REMEDY}")
    for file in beside:
        if not file.is_file():
            raise SweepError(f"{file}: expected a file, found none; {_REMEDY}")
        known, found = facts["beside"].get(file.name), file_hash(file)
        if found != known:
            raise SweepError(
                f"{file}: expected the content that {path.name} names (SHA-256 {str(known)[:12]}), "
                f"found another ({found[:12]}); {_REMEDY}"
            )
    return read_cell(path)[0]


def read_predictions(paths: Iterable[Path]) -> pd.DataFrame:
    """Predictions of several cells in one frame.

    Parameters
    ----------
    paths
        Files of `run_cells`.

    Returns
    -------
    pandas.DataFrame
        The rows of all files in their order, with the columns dataset, size_px, model, fold and
        seed put before those of the files.

    Raises
    ------
    SweepError
        There is no file, one is not whole or was changed, or the columns differ (other classes).
    """
    frames = []
    for path in paths:
        facts, table = read_cell(path)
        cell, frame = facts["cell"], table.to_pandas()
        if frames and list(frame.columns) != list(frames[0].columns[len(cell) :]):
            raise SweepError(
                f"{path}: expected columns {list(frames[0].columns[len(cell) :])} as in the files "
                f"before it, found {list(frame.columns)}; read one set of classes at a time"
            )
        for position, (name, value) in enumerate(cell.items()):
            frame.insert(position, name, value)
        frames.append(frame)
    if not frames:
        raise SweepError("predictions: expected at least one file, found none; run the sweep")
    return pd.concat(frames, ignore_index=True)


def singles_hash(paths: Iterable[Path]) -> str:
    """Hash of what late fusion combines: the rows of its single channels, not their times."""
    return hash_of([read_provenance(path)["content"] for path in paths])


def late_weights(cells: Iterable[Cell], folder: Path) -> pd.DataFrame:
    """Weights that late fusion gave its channels: one row per cell, ``fold`` and the channels."""
    rows = [
        {"fold": cell.fold, **read_provenance(cell.path(folder))["details"]["late_weights"]}
        for cell in cells
    ]
    return pd.DataFrame(rows).sort_values("fold", ignore_index=True)


def _read(path: Path, *, rows: bool) -> tuple[dict, pa.Table | None]:
    """Provenance, checked by its checksum, and the rows if they are wanted."""
    try:
        with pq.ParquetFile(note_file(path), page_checksum_verification=True) as file:
            metadata = file.metadata.metadata or {}
            table = file.read(use_threads=False) if rows else None
    except FileNotFoundError:
        raise SweepError(f"{path}: expected a prediction file, found none; run the sweep") from None
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"{path}: not a whole parquet file ({reason}); {_REMEDY}") from None
    if not {_METADATA_KEY, _CHECKSUM_KEY} <= metadata.keys():
        raise SweepError(
            f"{path}: expected a provenance with a checksum in its metadata, found none; {_REMEDY}"
        )
    text = metadata[_METADATA_KEY]
    if _sha256(text) != metadata[_CHECKSUM_KEY]:
        raise SweepError(
            f"{path}: expected the provenance that was written, found another; {_REMEDY}"
        )
    return json.loads(text), table


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).hexdigest().encode()


def _content_hash(table: pa.Table) -> str:
    """SHA-256 (hex) of the names, types and values of all columns, the same on every machine."""
    digest = hashlib.sha256()
    for name, column in zip(table.column_names, table.columns, strict=True):
        values = column.to_numpy()
        digest.update(repr((name, values.dtype.str, len(values))).encode())
        if values.dtype.hasobject:
            digest.update(repr(column.to_pylist()).encode())
        else:
            digest.update(np.ascontiguousarray(values).data)
    return digest.hexdigest()
