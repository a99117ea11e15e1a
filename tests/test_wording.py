"""Words and numbers as pages, tables and figures write them."""

import math

import numpy as np
import pytest

from organelle_fusion.wording import (
    capital,
    decimals,
    grey_level,
    number_of,
    percent,
    span,
    title,
)


@pytest.mark.parametrize(
    ("ends", "expected"),
    [((-0.02, 0.2), 2), ((-0.0049, 0.2), 3), ((0.001, 0.2), 3), ((0.0, 0.2), 2), ((0.005, 1), 2),
     ((0.0003, 0.05), 4), ((-0.06, -0.00002), 5), ((1e-17, 1), 2), ((math.nan, 1), 2)],
)  # fmt: skip
def test_as_many_decimals_as_show_the_side_of_0(ends, expected):
    """An end of 0, of 0 up to rounding, or one that rounds to 0.01, needs no more than two."""
    assert decimals(*ends) == expected


def test_names_are_written_as_words():
    """A fusion is a name with a capital; a channel and a class are words as they are."""
    names = ("early", "late", "early_endosomes", "MCF10A")
    assert list(map(title, names)) == ["Early fusion", "Late fusion", "early endosomes", "MCF10A"]


@pytest.mark.parametrize(("text", "expected"), [("a DNA stain", "A DNA stain"), ("", "")])
def test_only_the_first_letter_becomes_a_capital(text, expected):
    """`str.capitalize` would write "A dna stain"."""
    assert capital(text) == expected


def test_one_thing_has_no_plural_and_equal_ends_no_span():
    assert [number_of(count, "epoch") for count in (0, 1, np.int64(1024))] == [
        "0 epochs", "1 epoch", "1,024 epochs",
    ]  # fmt: skip
    assert (span(3, 3), span(3, 20), span("a", "b")) == ("3", "3 to 20", "a to b")


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.25, "25%"), (0.03, "3%"), (0.0123, "1.2%"), (0.00034, "0.034%"), (0, "0%")],
)
def test_small_shares_are_not_rounded_to_0(share, expected):
    assert percent(share) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (1234.4, "1,234"),
        (100, "100"),
        (99.96, "100"),
        (12.34, "12.3"),
        (0.0432, "0.0432"),
        (0, "0"),
    ],
)
def test_grey_levels_of_dim_images_are_not_rounded_to_0(value, expected):
    assert grey_level(value) == expected
