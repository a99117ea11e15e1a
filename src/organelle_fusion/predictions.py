"""The prediction files: one per cell of a sweep, each with its provenance inside."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from organelle_fusion.config import UserError
from organelle_fusion.provenance import atomic_path, note_file

WEIGHTS_SUFFIX = ".weights.h5"

_METADATA_KEY = b"organelle_fusion"


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


def write_predictions(frame: pd.DataFrame, path: Path, facts: dict) -> None:
    """Write a frame with its provenance, atomically; `frame.attrs` become its ``details``."""
    facts = {**facts, "details": dict(frame.attrs)}
    frame = frame.copy(deep=False)
    frame.attrs = {}
    table = pa.Table.from_pandas(frame, preserve_index=False)
    metadata = {**(table.schema.metadata or {}), _METADATA_KEY: json.dumps(facts).encode()}
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata), temporary)


def read_provenance(path: Path) -> dict:
    """What a prediction file came from.

    Returns
    -------
    dict
        ``cell``, ``inputs`` (hashes), ``device``, ``seconds``, ``details`` (such as the training
        history), versions, machine and time.

    Raises
    ------
    SweepError
        The file does not exist, is not whole, or was not written by `run_cells`.
    """
    remedy = "delete it and run the sweep again"
    try:
        metadata = pq.read_metadata(note_file(path)).metadata or {}
    except FileNotFoundError:
        raise SweepError(f"{path}: expected a prediction file, found none; run the sweep") from None
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())
        raise SweepError(f"{path}: not a whole parquet file ({reason}); {remedy}") from None
    if _METADATA_KEY not in metadata:
        raise SweepError(f"{path}: expected a provenance in its metadata, found none; {remedy}")
    return json.loads(metadata[_METADATA_KEY])


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
        There is no file, one is not whole, or the columns differ (other classes).
    """
    frames = []
    for path in paths:
        cell = read_provenance(path)["cell"]
        frame = pq.read_table(path).to_pandas()
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


def late_weights(cells: Iterable[Cell], folder: Path) -> pd.DataFrame:
    """Weights that late fusion gave its channels: one row per cell, ``fold`` and the channels."""
    rows = [
        {"fold": cell.fold, **read_provenance(cell.path(folder))["details"]["late_weights"]}
        for cell in cells
    ]
    return pd.DataFrame(rows).sort_values("fold", ignore_index=True)
