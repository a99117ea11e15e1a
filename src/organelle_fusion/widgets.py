"""Interactive pieces of a page: a still that stands by itself, and the facts a script works on.

A widget is one piece of HTML that a chapter shows as it shows a figure. Without JavaScript, and in
Jupyter, the still remains: a picture or a table with its text. In the book the scripts of
``book/_static`` read the facts, which lie in the page as JSON, and put their controls in. Nothing
is fetched and nothing is computed elsewhere, so that a page works from a folder.
"""

import base64
import html
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from skimage.transform import resize_local_mean

from organelle_fusion.style import bar_length_um
from organelle_fusion.wording import capital

if TYPE_CHECKING:
    from IPython.display import HTML

EDGE = 416
"""Longest edge of an embedded picture, pixels; larger planes are averaged down to it."""

QUALITY = 70
"""Of embedded JPEG pictures, 0 to 100."""


def widget(
    kind: str,
    name: str,
    *,
    title: str,
    text: str,
    use: str,
    note: str,
    data: str,
    still: str,
    facts: Mapping[str, Any],
) -> "HTML":
    """Put a widget together.

    Parameters
    ----------
    kind
        What the scripts know it by.
    name
        Id on the page, without spaces.
    title, text
        What it shows, in plain text.
    use
        How to use it, shown once the script runs.
    note
        What the still shows, until then.
    data
        What the data are, see `pages.Run.data`.
    still
        HTML of the still; everything in it is escaped already.
    facts
        What the script is given, as JSON can hold it.

    Returns
    -------
    IPython.display.HTML
    """
    from IPython.display import HTML

    shown = f"{capital(data)}. {text}"
    return HTML(
        f'<div class="widget" id="{name}" data-widget="{kind}" role="group" '
        f'aria-labelledby="{name}-title">'
        f'<p class="widget-caption"><b id="{name}-title">{html.escape(title)}.</b> '
        f"{html.escape(shown)}</p>"
        f'<p class="widget-use" hidden>{html.escape(use)}</p>'
        f'<div class="widget-stage">{still}'
        f'<p class="widget-note">{html.escape(note)}</p></div>'
        f'<script type="application/json">{json_in_html(facts)}</script></div>'
    )


def json_in_html(value: Any) -> str:
    """JSON that no text in it can end early: ``<``, ``>`` and ``&`` are written as escapes.

    Raises
    ------
    ValueError
        The value holds NaN or infinity, which JSON does not know.
    """
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for mark in "<>&":
        text = text.replace(mark, f"\\u{ord(mark):04x}")
    return text


def jpeg(pixels: np.ndarray) -> str:
    """Embed a picture as JPEG.

    Parameters
    ----------
    pixels : (H, W) or (H, W, 3)
        uint8, or float of 0..1; grey or RGB.

    Returns
    -------
    str
        A ``data:`` address. Colours keep the resolution of the picture.
    """
    import imagecodecs

    pixels = to_bytes(pixels)
    colour = {"subsampling": "444"} if pixels.ndim == 3 else {}
    return _address("jpeg", imagecodecs.jpeg8_encode(pixels, level=QUALITY, **colour))


def png(pixels: np.ndarray) -> str:
    """Embed a grey picture, uint8 (H, W), without loss; a ``data:`` address."""
    import imagecodecs

    return _address("png", imagecodecs.png_encode(np.ascontiguousarray(pixels), level=9))


def _address(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"


def to_bytes(pixels: np.ndarray) -> np.ndarray:
    """Pixels of 0..1 as uint8; those that are uint8 stay."""
    pixels = np.ascontiguousarray(pixels)
    if pixels.dtype == np.uint8:
        return pixels
    return np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)


def shrunk(planes: np.ndarray, edge: int = EDGE) -> np.ndarray:
    """Average planes, float (C, H, W), down until no edge is longer than `edge` pixels."""
    longest = max(planes.shape[1:])
    if longest <= edge:
        return planes
    shape = tuple(max(1, round(length * edge / longest)) for length in planes.shape[1:])
    return resize_local_mean(planes, shape, channel_axis=0)


def picture(
    address: str,
    alt: str,
    *,
    shape: tuple[int, int],
    width_um: float | None = None,
    over: str = "",
) -> str:
    """HTML of a picture with its scale bar.

    Parameters
    ----------
    address
        Of `jpeg` or `png`.
    alt
        Its text alternative.
    shape
        Height and width, pixels.
    width_um
        Width of what it shows, µm; None: no scale bar.
    over
        HTML that lies over the picture.
    """
    height, width = shape
    bar = ""
    if (found := scale_bar(width_um)) is not None:
        share, words = found
        bar = f'<span class="widget-bar" style="width:{share}%"><span>{words}</span></span>'
    return (
        f'<div class="widget-picture"><img src="{address}" alt="{html.escape(alt)}" '
        f'width="{width}" height="{height}">{over}{bar}</div>'
    )


def scale_bar(width_um: float | None) -> tuple[float, str] | None:
    """Length of the scale bar of a picture, as a percentage of its width and in words."""
    if width_um is None:
        return None
    length = bar_length_um(width_um)
    return round(100 * length / width_um, 2), f"{length:g} µm"
