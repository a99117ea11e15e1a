"""How far trainings got: what the histories of stored networks say of their training part."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import pandas as pd

from organelle_fusion.provenance import note_file, read_csv
from organelle_fusion.wording import number_of, span, title


def last_epochs(histories: Mapping[str, Iterable[Sequence[Mapping]]]) -> pd.DataFrame:
    """The ends of trainings: a row for each network.

    Parameters
    ----------
    histories
        Model → a history for each of its trainings: ``epoch``, ``loss``, ``accuracy`` of each
        epoch, on the training part, as `predictions.read_provenance` gives them in ``details``.

    Returns
    -------
    DataFrame
        model; trainings; epochs (most); accuracy, the mean of the last epochs; falling, in how many
        trainings the last epoch has the lowest loss of all.
    """
    rows = []
    for model, trainings in histories.items():
        frames = [pd.DataFrame(list(history)) for history in trainings]
        rows.append(
            (
                model,
                len(frames),
                max(int(frame["epoch"].max()) for frame in frames),
                float(pd.Series([frame["accuracy"].iloc[-1] for frame in frames]).mean()),
                sum(bool(frame["loss"].idxmin() == frame.index[-1]) for frame in frames),
            )
        )
    return pd.DataFrame(rows, columns=["model", "trainings", "epochs", "accuracy", "falling"])


LEARNT = "learnt.csv"
"""File of `last_epochs` that chapter 9 leaves beside its predictions."""


def known_sentence(ends: pd.DataFrame, what: str) -> str:
    """Say which share of what they learn from networks know, where their order is made use of.

    Parameters
    ----------
    ends, what
        As for `learnt_sentence`; `what` with whose it is, such as "the crops of chapter 9".
    """
    low, high = ends["accuracy"].min(), ends["accuracy"].max()
    return (
        "The networks behind the rows of real cells classify rightly "
        f"{span(f'{low:.0%}', f'{high:.0%}')} of {what} that they were trained on: the lower this "
        "share, the less their ranking means."
    )


def known_words(folder: Path) -> str:
    """`known_sentence` of the real crops whose results lie in `folder`; "" where none do."""
    path = note_file(folder / LEARNT)  # with the first results it appears
    if not path.is_file():
        return ""
    return known_sentence(read_csv(path, text=("model",)), "the crops of chapter 9")


def learnt_sentence(ends: pd.DataFrame, what: str) -> str:
    """Say how much of what they learn from networks know at the end.

    Parameters
    ----------
    ends
        Of `last_epochs`.
    what
        What they learn from, such as "crops".
    """
    low, high = (ends.loc[ends["accuracy"].agg(pick)] for pick in ("idxmin", "idxmax"))
    return (
        f"After at most {number_of(ends['epochs'].max(), 'epoch')} the networks classify "
        f"rightly between {low['accuracy']:.0%} ({title(low['model']).lower()}) and "
        f"{high['accuracy']:.0%} ({title(high['model']).lower()}) of the {what} that they were "
        f"trained on, as counted during training, and in {ends['falling'].sum()} of "
        f"{ends['trainings'].sum()} trainings the last epoch has the lowest loss of all."
    )
