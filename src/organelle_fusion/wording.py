"""How models, channels, scores and numbers are written on pages, in tables and in figures."""

from collections.abc import Iterable

from organelle_fusion.config import FUSIONS

METRIC_TITLES = {
    "balanced_accuracy": "Balanced accuracy",
    "auroc": "AUROC",
    "mcc": "MCC",
    "macro_f1": "Macro F1",
}
"""The four scores of the paper's Tables 1 and 2, in order, as tables and figures name them."""


_FEW = 4  # names that are listed, of many


def title(name: str) -> str:
    """Name of a model, channel or class as tables and figures print it.

    ``early`` is "Early fusion", ``early_endosomes`` is "early endosomes"; names with a meaning of
    their own, like phenotypes, stay as they are.
    """
    if name in FUSIONS:
        return f"{name.capitalize()} fusion"
    return name.replace("_", " ")


def capital(text: str) -> str:
    """Text with a capital first and the rest as it is, so that ``DNA`` stays."""
    return text[:1].upper() + text[1:]


def heading(name: str) -> str:
    """Name of a model as titles and rows of figures begin with it, with a capital."""
    return capital(title(name))


def grey_level(value: float) -> str:
    """An intensity: whole from 100 on, and below with three figures, as images of 0..1 need."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def number_of(count: int, noun: str) -> str:
    """A number of things, such as "1 epoch" and "1,024 epochs"; of a noun with a regular plural."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def few(names: Iterable[str]) -> str:
    """The first of some names, and how many more there are."""
    names = list(names)
    more = len(names) - _FEW
    return ", ".join(names[:_FEW]) + (f" and {more} more" if more > 0 else "")


def span(least: object, most: object) -> str:
    """From the least to the most, such as "3 to 20"; one of them where they are equal."""
    return f"{least}" if least == most else f"{least} to {most}"


def percent(share: float) -> str:
    """A share in percent, with two figures below 10 %."""
    return f"{share:.0%}" if share >= 0.1 else f"{100 * share:.2g}%"


def decimals(*ends: float) -> int:
    """Decimals to print an interval with: 2, or as many as show on which side of 0 it ends.

    An end nearer to 0 than a millionth is one of rounding, and shows as 0; NaN asks for none.
    """
    least = min((abs(end) for end in ends if abs(end) >= 1e-6), default=1.0)
    return next(digits for digits in (2, 3, 4, 5, 6) if least >= 0.5 * 10.0**-digits)
