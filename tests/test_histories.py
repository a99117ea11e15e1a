"""How far trainings got, out of their histories."""

import pandas as pd

from organelle_fusion import histories
from organelle_fusion.provenance import write_csv


def history(*epochs):
    return [
        {"epoch": n, "loss": loss, "accuracy": accuracy}
        for n, (loss, accuracy) in enumerate(epochs, start=1)
    ]


def test_ends_of_trainings_by_hand():
    """Early: last accuracies 0.5 and 0.7, one of two still falling; golgi stopped after one."""
    ends = histories.last_epochs(
        {
            "early": [history((2, 0.2), (1, 0.5)), history((2, 0.1), (1, 0.8), (1.5, 0.7))],
            "golgi": [history((2, 0.3))],
        }
    )
    assert ends.to_numpy().tolist() == [["early", 2, 3, 0.6, 1], ["golgi", 1, 1, 0.3, 1]]
    assert histories.learnt_sentence(ends, "crops") == (
        "After at most 3 epochs the networks classify rightly between 30% (golgi) and 60% (early "
        "fusion) of the crops that they were trained on, as counted during training, and in 2 of 3 "
        "trainings the last epoch has the lowest loss of all."
    )


def test_how_much_the_networks_of_real_cells_know(tmp_path):
    """Of the file that chapter 9 leaves; without it there is nothing to say."""
    assert histories.known_words(tmp_path) == ""
    ends = pd.DataFrame({"model": ["early", "a", "b"], "accuracy": [0.46, 0.255, 0.3]})
    write_csv(tmp_path / histories.LEARNT, ends)
    assert histories.known_words(tmp_path) == (
        "The networks behind the rows of real cells classify rightly 26% to 46% of the crops of "
        "chapter 9 that they were trained on: the lower this share, the less their ranking means."
    )
